# SPDX-License-Identifier: Apache-2.0
"""Steps, what they may do, and the runner that takes them in order, two at a time where it may."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .counts import Counts

ROOT = Path(__file__).resolve().parent.parent.parent
# A snippet of the docs may run make while make test runs.
LOGS = ROOT / "log" / ("nested" if os.environ.get("PENSTOCK_NESTED") else "")
SLOTS = 2
TAIL_LINES = 40
# What the last lines of a run say of each step that failed: those who keep only the end of its
# output are to learn why.
TELLING = re.compile(r"FAILED |ERROR |FAIL: |ERROR: |\[  FAILED|\S+:\S+: (failed|did not end)"
                     r"|exit status|killed after|no test ran|.*Timeout \(\d|File .*/tests/python/"
                     r"|.*(Sanitizer:|runtime error:|_wait\(\) failed)")
TOLD = 10


class StepFailed(Exception):
    """A step could not do its work; the log has the reason."""


class Job:
    """A running step: runs commands and keeps all they print in the step's log."""

    running: set[int] = set()
    """Process groups of all jobs, for an interrupted run."""

    def __init__(self, name: str) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / f"{name}.log"
        self.log.write_text("")

    def note(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(text + "\n")

    def run(self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None,
            timeout: float = 600, check: bool = True, cwd: Path = ROOT) -> tuple[int, str]:
        """Exit status and output. Without `check`, the caller judges a failure. A command that
        takes longer than `timeout` seconds is killed with all it started, and is a failure."""
        words = [str(word) for word in command]
        settings = " ".join(f"{key}={value}" for key, value in (env or {}).items())
        self.note(f"$ {settings} {' '.join(words)}".replace("$  ", "$ "))
        start = self.log.stat().st_size
        with self.log.open("ab") as log:
            process = subprocess.Popen(words, cwd=cwd, env=os.environ | dict(env or {}), stdout=log,
                                       stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True)
            Job.running.add(process.pid)
            try:
                status = process.wait(timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.note(f"killed after {timeout:.0f} s")
                raise StepFailed(f"took longer than {timeout:.0f} s") from None
            finally:
                Job.running.discard(process.pid)
        output = self.log.read_bytes()[start:].decode(errors="replace")
        if check and status != 0:
            raise StepFailed(f"exit status {status}: {' '.join(words)[:100]}")
        return status, output

    def tests(self, command: Sequence[str | Path], parse: Callable[[str], Counts],
              **options) -> Counts:
        """Runs a test runner. One that fails without saying which test, or runs none, is itself a
        failure."""
        status, output = self.run(command, check=False, **options)
        counts = parse(output)
        if counts.failed == 0 and status != 0:
            self.note(f"exit status {status}, and no failed test")
            return counts + Counts(failed=1)
        if counts == Counts():
            self.note("no test ran")
            return Counts(failed=1)
        return counts


@dataclass(frozen=True)
class Step:
    name: str
    about: str
    body: Callable[[Job], Counts]
    needs: tuple[str, ...] = ()
    slots: int = 1  # SLOTS for what uses every core itself.


class Run:
    """Takes steps in order; one whose need failed is not started and counts as skipped."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._waiting = list(steps)
        self._names = {step.name for step in steps}
        self._results: dict[str, tuple[Counts, bool]] = {}
        self._free = SLOTS
        self._changed = threading.Condition()

    def all(self) -> Counts:
        try:
            return self._all()
        except KeyboardInterrupt:
            for group in list(Job.running):
                os.killpg(group, signal.SIGKILL)
            raise SystemExit("interrupted") from None

    def _all(self) -> Counts:
        threads = []
        with self._changed:
            while self._waiting:
                step = self._next()
                if step is None:
                    self._changed.wait()
                    continue
                self._waiting.remove(step)
                if self._doomed(step):
                    self._finish(step, Counts(skipped=1), False, 0,
                                 "not run: a step it needs failed")
                    continue
                self._free -= step.slots
                # Daemons: an interrupt of the main thread ends them all.
                thread = threading.Thread(target=self._take, args=(step,), daemon=True)
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join()
        self._tell_again()
        return sum((counts for counts, _ in self._results.values()), Counts())

    def _tell_again(self) -> None:
        for name, (counts, _) in self._results.items():
            if counts.failed:
                print(f"FAILED  {name}: {counts}")
                for line in _telling(LOGS / f"{name}.log"):
                    print(f"    {line[:160]}")

    def _next(self) -> Step | None:
        """The first that can start; a later one overtakes only if its slots are free."""
        for step in self._waiting:
            known = [need for need in step.needs if need in self._names]
            if all(need in self._results for need in known) and (
                    step.slots <= self._free or self._doomed(step)):
                return step
        return None

    def _doomed(self, step: Step) -> bool:
        return any(not self._results[need][1] for need in step.needs if need in self._results)

    def _take(self, step: Step) -> None:
        job = Job(step.name)
        start = time.monotonic()
        why = ""
        try:
            counts = step.body(job)
        except StepFailed as failure:
            counts, why = Counts(failed=1), str(failure)
            job.note(why)
        except Exception as error:  # A fault of the driver itself must not look like success.
            counts, why = Counts(failed=1), f"{type(error).__name__}: {error}"
            job.note(why)
        with self._changed:
            self._free += step.slots
            self._finish(step, counts, counts.failed == 0, time.monotonic() - start, why, job.log)

    def _finish(self, step: Step, counts: Counts, fine: bool, seconds: float, why: str,
                log: Path | None = None) -> None:
        self._results[step.name] = (counts, fine)
        state = "FAILED" if counts.failed else "skipped" if not fine else "ok"
        detail = why or (str(counts) if counts != Counts() else "")
        print(f"{state:8}{step.name:16}{seconds:6.1f} s  {step.about}"
              + (f": {detail}" if detail else ""), flush=True)
        if counts.failed and log:
            _print_tail(log)
        self._changed.notify_all()


def _print_tail(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    print(f"  the last lines of {log.relative_to(ROOT)}:")
    for line in lines[-TAIL_LINES:]:
        print(f"    {line[:300]}")
    sys.stdout.flush()


def _telling(log: Path) -> list[str]:
    """The first of a kind: one fault may repeat itself a million times."""
    lines = log.read_text(errors="replace").splitlines()
    found = list(dict.fromkeys(line.strip() for line in lines
                               if TELLING.match(line.strip()) and not line.startswith("$ ")))
    if len(found) > TOLD:
        found[TOLD // 2:-TOLD // 2] = ["..."]
    return found or lines[-TOLD:]


def selected(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """The named steps and all they need, in order."""
    wanted: set[str] = set()
    by_name = {step.name: step for step in steps}

    def add(name: str) -> None:
        if name not in by_name:
            raise SystemExit(f"no step {name}; there are: {', '.join(by_name)}")
        if name not in wanted:
            wanted.add(name)
            for need in by_name[name].needs:
                add(need)

    for name in names:
        add(name)
    return [step for step in steps if step.name in wanted]
