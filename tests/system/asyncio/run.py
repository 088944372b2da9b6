# SPDX-License-Identifier: Apache-2.0
"""CPython's own tests of event loops, on ours.

run.py [--python PYTHON] [--factory MODULE:NAME] [--only PATTERN ...] [--jobs N]

test.test_asyncio of PYTHON (of Debian: package libpython3.11-testsuite) runs in worker.py, a
process for each of its modules, which starts again behind a test that crashes it or hangs. Counted
are the classes that asked for a loop. A test that fails and is not in exceptions.toml fails the
run, and so does one that is in there and passes, or does not exist: the list stays true.
PENSTOCK_LOOP_BACKEND chooses the backend, and the loop must really have it. With another factory
(asyncio:SelectorEventLoop, uvloop:new_event_loop) there are no exceptions.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = "erlang:new_event_loop"
# The longest first. Where a Python has no such module, there is nothing to run.
MODULES = ("subprocess", "ssl", "tasks", "events", "taskgroups", "sslproto", "streams",
           "unix_events", "sock_lowlevel", "sendfile", "server", "locks", "eager_task_factory",
           "base_events", "buffered_proto", "context", "futures2", "pep492", "queues", "runners",
           "staggered", "threads", "timeouts", "waitfor")
# A module's process as a whole; worker.py has a limit for each test.
LIMIT_S = 300.0


@dataclass
class Outcome:
    test: str
    outcome: str
    detail: str = ""
    loops: int = 0

    def printable(self) -> str:
        """As unittest prints it: method (module.Class.method)."""
        return f"{self.test.rpartition('.')[2]} ({self.test})"


class Exceptions:
    """Of exceptions.toml, those for this Python and backend: what may, and must, fail."""

    def __init__(self, python: str, backend: str | None) -> None:
        self.reasons: dict[str, str] = {}
        for entry in tomllib.loads((HERE / "exceptions.toml").read_text()).get("exception", []):
            if python in entry.get("python", [python]) and (
                    backend in entry.get("backend", [backend])):
                for test in entry["tests"]:
                    self.reasons[test] = entry["reason"]

    def judge(self, outcomes: list[Outcome], whole: bool) -> int:
        """Turns outcomes into what they mean here; returns how many failed as listed."""
        listed = 0
        for found in outcomes:
            if found.test not in self.reasons:
                continue
            if found.outcome == "failed":
                found.outcome = "skipped"
                listed += 1
            elif found.outcome == "passed":
                found.outcome = "failed"
                found.detail = "passes, but is in exceptions.toml\n"
        there = {found.test for found in outcomes}
        outcomes.extend(Outcome(test, "failed", "in exceptions.toml, but there is no such test\n")
                        for test in self.reasons if whole and test not in there)
        return listed


def rows_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def take(python: str, factory: str, module: str) -> list[Outcome]:
    """Runs one module to its end, starting again behind each test that ends the process."""
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        while True:
            results = Path(folder) / f"{len(outcomes)}.json"
            try:
                worker = subprocess.run(
                    [python, "-B", HERE / "worker.py", factory, results, module,
                     *(found.test for found in outcomes)], cwd=folder, text=True,
                    errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, timeout=LIMIT_S)
                status, output = worker.returncode, worker.stdout
            except subprocess.TimeoutExpired as late:
                status, output = -1, f"{late}\n{(late.stdout or b'').decode(errors='replace')}"
            rows = rows_of(results)
            outcomes += [Outcome(**row) for row in rows if "test" in row]
            if rows and "ended" in rows[-1]:
                return outcomes
            tail = "\n".join(output.splitlines()[-60:])
            if not rows or "started" not in rows[-1]:
                outcomes.append(Outcome(f"{module}.worker", "failed",
                                        f"exit status {status}\n{tail}\n", 1))
                return outcomes
            outcomes.append(Outcome(rows[-1]["started"], "failed",
                                    f"the process ended, status {status}\n{tail}\n", 1))


def about_loops(outcomes: list[Outcome]) -> list[Outcome]:
    """Those of classes that asked for a loop."""
    classes = {found.test.rpartition(".")[0] for found in outcomes if found.loops}
    return [found for found in outcomes if found.test.rpartition(".")[0] in classes]


def modules_of(python: str) -> list[str]:
    code = "import test.test_asyncio as package; print(package.__path__[0])"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(f"{python} has no test.test_asyncio")
    folder = Path(found.stdout.strip())
    return [f"test_{name}" for name in MODULES if (folder / f"test_{name}.py").exists()]


def report(outcomes: list[Outcome], listed: int, seconds: float) -> int:
    failed = [found for found in outcomes if found.outcome == "failed"]
    skipped = [found for found in outcomes if found.outcome == "skipped"]
    for found in failed:
        print(f"{'=' * 70}\nFAIL: {found.printable()}\n{'-' * 70}\n{found.detail}")
    print(f"{'-' * 70}\n{listed} failed as exceptions.toml says they do")
    print(f"Ran {len(outcomes)} tests in {seconds:.1f}s\n")
    print(f"{'FAILED' if failed else 'OK'} (failures={len(failed)}, skipped={len(skipped)})")
    return 1 if failed or not outcomes else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--factory", default=OURS)
    parser.add_argument("--only", nargs="*", default=["*"], help="patterns of module names")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    start = time.monotonic()
    modules = [name for name in modules_of(chosen.python)
               if any(fnmatch.fnmatch(name, pattern) for pattern in chosen.only)]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        taken = pool.map(lambda name: take(chosen.python, chosen.factory, name), modules)
        outcomes = about_loops([found for outcomes in taken for found in outcomes])
    listed = 0
    if chosen.factory == OURS:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        version = subprocess.check_output([chosen.python, "-c", code], text=True).strip()
        exceptions = Exceptions(version, os.environ.get("PENSTOCK_LOOP_BACKEND"))
        listed = exceptions.judge(outcomes, chosen.only == ["*"])
    return report(outcomes, listed, time.monotonic() - start)


if __name__ == "__main__":
    sys.exit(main())
