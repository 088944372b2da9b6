# SPDX-License-Identifier: Apache-2.0
"""Steps that read the sources: formatting, house rules, clang-tidy, mypy, xref and dialyzer."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from . import build, counts
from .counts import Counts
from .steps import ROOT, SLOTS, Job, Step


def sources(*suffixes: str) -> list[str]:
    """Tracked files and new ones that git does not ignore."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True,
                            text=True).stdout
    return sorted(name for name in listed.split("\0")
                  if name.endswith(suffixes) and (ROOT / name).exists())


def _format(job: Job) -> Counts:
    files = sources(".cpp", ".hpp")
    _, output = job.run(["clang-format", "--dry-run", "-Werror", *files], check=False)
    wrong = {line.split(":")[0] for line in output.splitlines()
             if "clang-format-violations" in line}
    job.note("".join(f"clang-format -i {name}\n" for name in sorted(wrong)))
    return Counts(len(files) - len(wrong), len(wrong))


def _tidy(job: Job) -> Counts:
    return job.tests(["/usr/bin/python3", "-B", "-m", "unittest", "discover", "-s", "tests/tidy",
                      "-p", "test_*.py"], counts.unittest)


def _clang_tidy(job: Job) -> Counts:
    """Over the sources of the product, with the flags of the clang build."""
    folder = build.BUILD / "clang"
    build.configure(job, "clang")
    commands = json.loads((folder / "compile_commands.json").read_text())
    product = ("core/src/", "io_uring/src/", "pyext/src/", "nif/c_src/")
    files = sorted({os.path.relpath(entry["file"], ROOT) for entry in commands})
    files = [name for name in files if name.startswith(product)]
    wrong = []

    def check(name: str) -> None:
        found = subprocess.run(["clang-tidy", "--quiet", f"-p={folder}", name], cwd=ROOT,
                               capture_output=True, text=True, timeout=300)
        if found.returncode != 0:
            wrong.append(name)
        if found.returncode != 0 or "warning:" in found.stdout:
            job.note(f"== {name}\n{found.stdout}{found.stderr}")

    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(check, files))
    if not files:
        job.note("no file to check")
        return Counts(failed=1)
    return Counts(len(files) - len(wrong), len(wrong))


def _types(job: Job) -> Counts:
    job.run(["/usr/bin/python3", "-m", "mypy", "--strict", "--cache-dir", build.BUILD / "mypy",
             "pyext/erlang", "pyext/penstock"])
    return Counts(passed=1)


def _erlang(job: Job) -> Counts:
    """Three verdicts: no warning, xref, dialyzer (whose first run makes a PLT: some minutes)."""
    total = Counts()
    for check in ("compile", "xref", "dialyzer"):
        status, _ = job.run(["rebar3", "as", "ci", check], env=build.REBAR, check=False,
                            timeout=900)
        total += Counts(int(status == 0), int(status != 0))
    return total


def steps() -> list[Step]:
    return [
        Step("format", "clang-format over all C++", _format),
        Step("tidy", "house rules", _tidy),
        Step("types", "mypy --strict over the Python package", _types),
        Step("clang-tidy", "files of core, pyext and nif", _clang_tidy, (), SLOTS),
        Step("erlang-checks", "warnings, xref, dialyzer", _erlang, ("build-erlang",)),
    ]
