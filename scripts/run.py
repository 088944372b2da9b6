# SPDX-License-Identifier: Apache-2.0
"""run.py test [STEP ...] | build | install PREFIX | demo [DIR] | serve APP PORT | bench: what the
Makefile calls.

`test` takes every step, or those named and what they need, and ends with one line
`N passed, N failed, N skipped`; its exit status is 1 if anything failed. The whole output of each
step is in log/<step>.log.
"""

import os
import signal
import subprocess
import sys
import time

from dev import bench, build, checks, fuzz, suites
from dev.steps import LOGS, ROOT, Run, Step, selected


def all_steps() -> list[Step]:
    """In the order they are tried: quick verdicts first, then builds as their users need them."""
    return [
        *checks.steps()[:2],
        build.preset("release"),
        build.application(),
        build.preset("clang"),
        build.preset("asan"),
        build.preset("tsan"),
        build.preset("fuzz"),
        *checks.steps()[2:],
        *suites.steps(),
        *fuzz.steps(),
    ]


def test(names: list[str]) -> int:
    if os.environ.get("PENSTOCK_NESTED"):
        # A snippet of the docs says `make test`, and is itself run by it.
        print("make test runs already")
        return 0
    steps = all_steps()
    if names == ["list"]:
        for step in steps:
            print(f"{step.name:16} {step.about}")
        return 0
    if names:
        steps = selected(steps, names)
    print(f"{len(steps)} steps; full logs in {LOGS.relative_to(ROOT)}/<step>.log", flush=True)
    start = time.monotonic()
    counts = Run(steps).all()
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")
    print(counts, flush=True)
    return 1 if counts.failed else 0


def build_only() -> int:
    return 1 if Run([build.application()]).all().failed else 0


def install(prefix: str) -> int:
    """What `build` has built, below the prefix (and DESTDIR)."""
    if build_only():
        return 1
    return subprocess.run(["cmake", "--install", ROOT / "_build/native", "--prefix",
                           os.path.abspath(prefix)],
                          stdout=subprocess.DEVNULL).returncode


def demo(arguments: list[str]) -> int:
    if build_only():
        return 1
    os.chdir(ROOT)
    environment = os.environ | build.erl_libs()
    first = subprocess.run(["escript", "examples/pipeline/run.escript", *filter(None, arguments)],
                           env=environment)
    if first.returncode != 0:
        return first.returncode
    return subprocess.run(["escript", "examples/pipeline/crash.escript"],
                          env=environment).returncode


def serve(arguments: list[str]) -> int:
    """Ctrl-C and SIGTERM stop the server gracefully, a second one at once."""
    if build_only():
        return 1
    server = subprocess.Popen(["escript", ROOT / "examples/wsgi_server/run.escript", *arguments],
                              env=os.environ | build.erl_libs(), start_new_session=True)
    asked = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal asked
        os.killpg(server.pid, signal.SIGKILL) if asked else server.terminate()
        asked = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return server.wait()


def measure() -> int:
    return 1 if Run(bench.steps()).all().failed else 0


def main(arguments: list[str]) -> int:
    # A shell has it ignored in what it starts in the background; tests that interrupt would wait.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    match arguments:
        case ["test", *names]:
            return test(names)
        case ["build"]:
            return build_only()
        case ["install", prefix]:
            return install(prefix)
        case ["demo", *rest]:
            return demo(rest)
        case ["serve", app, port]:
            return serve([app, port])
        case ["bench"]:
            return measure()
        case ["fuzz", target, seconds]:
            return 1 if Run(fuzz.long(target, int(seconds))).all().failed else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
