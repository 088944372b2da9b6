# SPDX-License-Identifier: Apache-2.0
"""Steps that run tests: core, models, Common Test, pytest, install tests, docs, demo."""

import ctypes
import errno
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from . import build, counts, pythons
from .counts import Counts
from .steps import LOGS, ROOT, Job, Step

ASAN = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:strict_string_checks=1:"
                        # Small, because some tests look at how much memory the process has.
                        "quarantine_size_mb=8:malloc_context_size=8",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
TSAN = {"TSAN_OPTIONS": f"exitcode=66:suppressions={ROOT}/tests/system/tsan.supp"}
# The VM and libpython are not instrumented.
TSAN_VM = {"TSAN_OPTIONS": "detect_deadlocks=0:ignore_noninstrumented_modules=1:exitcode=66:"
                           f"suppressions={ROOT}/tests/system/tsan_vm.supp"}

# Of the same C++ that the release build has had its full number of.
FEWER_EXAMPLES = {"PENSTOCK_EXAMPLES": "100"}


@cache
def preload(library: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={library}"], capture_output=True, text=True)
    return found.stdout.strip()


def gtest(name: str, about: str, build_name: str, *programs: str,
          env: Mapping[str, str] | None = None) -> Step:
    """`programs` are paths inside the preset's build folder."""

    def body(job: Job) -> Counts:
        total = Counts()
        for program in programs:
            total += job.tests([*fixed_addresses(), build.BUILD / build_name / program,
                                "--gtest_brief=1"], counts.gtest, env=env, timeout=420)
        return total

    return Step(name, about, body, (f"build-{build_name}",))


def pytest(name: str, about: str, build_name: str, python: str | None,
           env: Mapping[str, str] | None = None, files: str = "test_*.py") -> Step:
    def body(job: Job) -> Counts:
        interpreter = python or pythons.chosen()
        path = [str(build.BUILD / build_name / "python"), pythons.pytest_path(interpreter)]
        settings = {"PYTHONPATH": ":".join(filter(None, path)), "PYTHONDONTWRITEBYTECODE": "1",
                    **(env or {})}
        job.note(f"Python {pythons.version_of(interpreter)}")
        found = sorted(Path(ROOT, "tests/python").glob(files))
        return job.tests([interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs",
                          *found], counts.pytest, env=settings, timeout=900)

    return Step(name, about, body, (f"build-{build_name}",))


def _compile_suites(job: Job) -> Counts:
    """rebar3 compiles them; the runs below use ct_run on the result."""
    job.run(["rebar3", "as", "test", "ct", "--compile_only"], env=build.REBAR, timeout=900)
    return Counts()


@cache
def fixed_addresses() -> tuple[str, ...]:
    """ThreadSanitizer's address map has no room for the largest random offsets."""
    probe = subprocess.run(["setarch", "-R", "true"], capture_output=True)
    return ("setarch", "-R") if probe.returncode == 0 else ()


@cache
def _erlang_root() -> tuple[str, str]:
    """Where Erlang is, and its ERTS's programs."""
    code = 'io:format("~ts ~ts", [code:root_dir(), erlang:system_info(version)]), halt().'
    found = subprocess.run(["erl", "-noshell", "-eval", code], capture_output=True, text=True)
    root, version = found.stdout.split()
    return root, f"{root}/erts-{version}/bin"


def _note_failed_cases(job: Job, logs: Path, since: float) -> None:
    """The console does not name them."""
    for log in logs.glob("ct_run*/*/*/suite.log"):
        if log.stat().st_mtime < since:
            continue
        for case in log.read_text(errors="replace").split("=case ")[1:]:
            if found := re.search(r"^=result +((?:failed|skipped).*?)(?=^=|\Z)", case,
                                  re.MULTILINE | re.DOTALL):
                job.note(f"{case.splitlines()[0].strip()}: {found[1].strip()[:1500]}")
            elif not re.search(r"^=result ", case, re.MULTILINE):
                job.note(f"{case.splitlines()[0].strip()}: did not end")


def common_test(name: str, about: str, needs: tuple[str, ...], priv: Path | None = None,
                env: Mapping[str, str] | None = None, in_processes: bool = False) -> Step:
    """All suites in a VM of their own. `priv` is another build's; its NIF is loaded instead.
    `in_processes`: those about calls, whose contexts are processes (tests/erlang/in_processes.erl).

    The VM is started without `erl` and its shell, which cannot run under ThreadSanitizer, and
    without a node name, which some suites want to give it themselves. What the VM starts is not
    to inherit the sanitizer."""

    def body(job: Job) -> Counts:
        logs = LOGS / name
        logs.mkdir(parents=True, exist_ok=True)
        root, bindir = _erlang_root()
        settings = {**build.erl_libs(), **(env or {}), "ROOTDIR": root, "BINDIR": bindir,
                    "EMU": "beam", "PROGNAME": "erl"}
        if priv is not None:
            settings["PENSTOCK_PRIV"] = str(priv)
        application = ROOT / "_build/test/lib/penstock"
        suites = application / "tests/erlang"
        options, mode, addresses = "", [], fixed_addresses()
        if in_processes:
            options = "{suite, in_processes:suites()}, {ct_hooks, [in_processes]}, "
            mode = ["-penstock", "context_mode", "process"]
            addresses = ()  # With these, threads of different processes have the same names.
            # Of all that are started, also in place of one that was killed.
            settings["PYTHONPATH"] = str(ROOT / "tests/erlang/python")
            settings["PYTHONDONTWRITEBYTECODE"] = "1"
        code = ('[os:putenv("PENSTOCK_PRELOAD", P) || P <- [os:getenv("LD_PRELOAD")], '
                'P =/= false], '
                f'os:unsetenv("LD_PRELOAD"), R = ct:run_test([{options}{{dir, "{suites}"}}, '
                f'{{logdir, "{logs}"}}, {{auto_compile, false}}]), '
                'io:format("result ~p~n", [R]), halt().')
        flags = ["-Mea", "min"] if "libasan" in settings.get("LD_PRELOAD", "") else []
        start = time.time()
        found = Counts(failed=1)  # Of a run that hangs.
        try:
            found = job.tests([*addresses, f"{bindir}/beam.smp", *flags, "--", "-root",
                               root, "-bindir", bindir, "-progname", "erl", "--", "-home",
                               Path.home(), "--", "-noshell", *mode, "-pa", application / "ebin",
                               suites, "-eval", code], counts.common_test, env=settings,
                              timeout=600)
        finally:
            if found.failed:
                _note_failed_cases(job, logs, start)
        return found

    return Step(name, about, body, ("build-suites", *needs))


def _install(job: Job) -> Counts:
    return job.tests(["/usr/bin/python3", "-B", "-m", "unittest", "discover", "-v",
                      "-s", "tests/install", "-p", "test_*.py"], counts.unittest,
                     env=build.REBAR, timeout=900)


def _docs(job: Job) -> Counts:
    runner = job.tests(["/usr/bin/python3", "-B", "-m", "unittest", "discover", "-s", "tests/docs",
                        "-p", "test_*.py"], counts.unittest, env=build.erl_libs())
    return runner + job.tests(["/usr/bin/python3", "-B", "tests/docs/run.py"], counts.plain,
                     env={**build.erl_libs(), "PENSTOCK_NESTED": "1"}, timeout=600)


def _demo(job: Job) -> Counts:
    """A folder with what a walk meets: nested, empty, unreadable and oddly named files."""
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "deep" / "er"
        inside.mkdir(parents=True)
        for number in range(40):
            (inside / f"file {number} ä").write_bytes(os.urandom(number * 997) + b"\n")
        (Path(folder) / "empty").write_bytes(b"")
        (Path(folder) / "dangling").symlink_to("nowhere")
        status, output = job.run(["escript", "examples/pipeline/run.escript", folder],
                                 env=build.erl_libs(), check=False, timeout=120)
    passed = status == 0 and "41 of 41 digests verified" in output
    status, output = job.run(["escript", "examples/pipeline/crash.escript", "3000"],
                             env=build.erl_libs(), check=False, timeout=120)
    survived = status == 0 and "3000 of 3000 blocks answered, 0 lost, 0 duplicated" in output
    good = int(passed) + int(survived)
    return Counts(good, 2 - good)


def _served(name: str, about: str, *patterns: str) -> Step:
    """The server of examples/wsgi_server as a process, and clients of it."""

    def body(job: Job) -> Counts:
        total = Counts()
        for pattern in patterns:
            total += job.tests(["/usr/bin/python3", "-B", "-m", "unittest", "discover", "-v",
                                "-s", "tests/system/wsgi", "-p", pattern], counts.unittest,
                               env=build.erl_libs(), timeout=300)
        return total

    return Step(name, about, body, ("build-erlang",))


@cache
def has_io_uring() -> bool:
    """Whether the kernel answers a nonsensical io_uring_setup with what is wrong with it, and not
    by refusing it. Asked without our code, whose faults must not look like a kernel's."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.syscall(425, 1, None) == -1 and ctypes.get_errno() == errno.EFAULT


def asyncio_tests(name: str, about: str, build_name: str, python: str | None, backend: str) -> Step:
    """CPython's tests of event loops, on ours."""

    def body(job: Job) -> Counts:
        if backend == "io_uring" and not has_io_uring():
            job.note("skipped: the kernel, or a guard of it, refuses io_uring")
            return Counts(skipped=1)
        interpreter = python or pythons.chosen()
        settings = {"PYTHONPATH": str(build.BUILD / build_name / "python"),
                    "PENSTOCK_LOOP_BACKEND": backend}
        return job.tests(["/usr/bin/python3", "-B", "tests/system/asyncio/run.py", "--python",
                          interpreter], counts.unittest, env=settings, timeout=600)

    return Step(name, about, body, (f"build-{build_name}",))


def _asyncio_users(job: Job) -> Counts:
    """On both backends. Their packages are Debian's, and for its Python only."""
    if pythons.chosen() != pythons.DEFAULT:
        job.note("skipped: there are no such packages for this Python")
        return Counts(skipped=1)

    def found(pattern: str, backend: str) -> Counts:
        settings = {"PYTHONPATH": str(build.BUILD / "release/python"),
                    "PENSTOCK_LOOP_BACKEND": backend}
        return job.tests(["/usr/bin/python3", "-B", "-m", "unittest", "discover", "-v", "-s",
                          "tests/system/asyncio", "-p", pattern], counts.unittest, env=settings,
                         timeout=300)

    total = found("test_runner.py", "auto")
    for backend in ("epoll", *(("io_uring",) if has_io_uring() else ())):
        total += found("test_aiohttp.py", backend) + found("test_uvicorn.py", backend)
    return total


def _skipped(name: str, about: str, reason: str) -> Step:
    def body(job: Job) -> Counts:
        job.note(f"skipped: {reason}")
        return Counts(skipped=1)

    return Step(name, f"{about}; {reason}", body)


def _other_pythons() -> list[Step]:
    steps = []
    for version in pythons.OTHERS:
        python = pythons.other(version)
        about = f"with Python {version}"
        if python is None:
            reason = f"pyenv has no Python {version} with a shared libpython"
            steps.append(_skipped(f"python-{version}", about, reason))
            continue
        folder = f"python-{version}"
        steps.append(build.for_python(version))
        run = pytest(f"pytest-{version}", f"Python API {about}", folder, python, FEWER_EXAMPLES)
        steps.append(Step(run.name, run.about, run.body, (f"build-{version}",)))
        run = asyncio_tests(f"asyncio-{version}", f"CPython's loop tests {about}", folder, python,
                            "io_uring")
        steps.append(Step(run.name, run.about, run.body, (f"build-{version}",)))
        steps.append(common_test(f"ct-{version}", f"Common Test {about}", (f"build-{version}",),
                                 build.BUILD / folder / "priv"))
    return steps


def steps() -> list[Step]:
    # libasan looks for what throws exceptions when it starts: a python3 has none by then.
    asan = ASAN | {"LD_PRELOAD": f"{preload('libasan.so')} {preload('libstdc++.so.6')}",
                   "PYTHONMALLOC": "malloc"}
    return [
        Step("build-suites", "the Common Test suites", _compile_suites,
             ("build-erlang", "erlang-checks")),
        gtest("core", "core tests, release", "release", "tests/core_tests"),
        gtest("core-clang", "core tests, clang", "clang", "tests/core_tests"),
        gtest("core-asan", "core tests, ASAN and UBSAN", "asan", "tests/core_tests", env=ASAN),
        gtest("core-tsan", "core tests, TSAN", "tsan", "tests/core_tests", env=TSAN),
        gtest("io_uring", "descriptors and wake-ups of event loops, release", "release",
              "tests/io_uring_tests"),
        gtest("io_uring-asan", "the same, ASAN and UBSAN", "asan", "tests/io_uring_tests",
              env=ASAN),
        gtest("io_uring-tsan", "the same, TSAN", "tsan", "tests/io_uring_tests", env=TSAN),
        gtest("model", "interleavings under a weak memory model, and mutants", "release",
              "tests/model/explorer_tests", "tests/model/model_tests"),
        gtest("kill", "processes killed and stopped at each access to shared memory", "release",
              "tests/kill/kill_tests"),
        gtest("runtime", "Python contexts without a VM", "release",
              "tests/python/python_runtime_tests"),
        common_test("ct", "Common Test", ()),
        common_test("ct-process", "suites about calls, with contexts in processes", (),
                    in_processes=True),
        pytest("pytest", "Python API", "release", None),
        *(asyncio_tests(f"asyncio-{backend}", f"CPython's loop tests on {backend}", "release",
                        None, backend) for backend in ("epoll", "io_uring")),
        pytest("pytest-epoll", "the event loop on epoll", "release", None,
               {"PENSTOCK_LOOP_BACKEND": "epoll"}, "test_loop_*.py"),
        Step("asyncio-users", "aiohttp and uvicorn on our loop", _asyncio_users,
             ("build-release",)),
        common_test("ct-asan", "Common Test, ASAN and UBSAN in the VM", ("build-asan",),
                    build.BUILD / "asan/priv", asan),
        common_test("ct-tsan", "Common Test, TSAN in the VM", ("build-tsan",),
                    build.BUILD / "tsan/priv", TSAN_VM | {"LD_PRELOAD": preload("libtsan.so")}),
        pytest("pytest-asan", "Python API, ASAN and UBSAN", "asan", None,
               asan | FEWER_EXAMPLES),
        *_other_pythons(),
        Step("install", "as a rebar3 and as a mix dependency", _install, ("build-erlang",)),
        Step("docs", "every snippet of README.md and docs/", _docs,
             ("build-release", "build-suites")),
        _served("wsgi", "a WSGI server: correct, wrong, slow and vanishing clients; memory",
                "test_requests.py", "test_clients.py", "test_memory.py"),
        _served("browser", "the upload page in Chromium", "test_browser.py"),
        Step("demo", "the pipeline, and a worker that is killed", _demo, ("build-erlang",)),
    ]
