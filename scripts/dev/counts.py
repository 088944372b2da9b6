# SPDX-License-Identifier: Apache-2.0
"""How many tests passed, failed and were skipped, read from what the runners print."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.passed + other.passed, self.failed + other.failed,
                      self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def _number(pattern: str, text: str) -> int:
    """The last match: runners print their summary at the end."""
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def gtest(text: str) -> Counts:
    """Empty unless the run came to its end: a crash has no summary."""
    if not re.search(r"^\[=+\] \d+ tests? from .* ran\.", text, re.MULTILINE):
        return Counts()
    return Counts(_number(r"^\[  PASSED  \] (\d+) test", text),
                  len(set(re.findall(r"^\[  FAILED  \] (.+) \(\d+ ms\)$", text, re.MULTILINE))),
                  _number(r"^\[  SKIPPED \] (\d+) test", text))


def pytest(text: str) -> Counts:
    lines = re.findall(r"^=* ?((?:\d+ \w+,? ?)+)in [\d.]+s", text, re.MULTILINE)
    summary = lines[-1] if lines else ""
    return Counts(_number(r"(\d+) (?:passed|xfailed)", summary),
                  _number(r"(\d+) failed", summary) + _number(r"(\d+) errors?", summary)
                  + _number(r"(\d+) xpassed", summary),
                  _number(r"(\d+) skipped", summary))


def unittest(text: str) -> Counts:
    """A test with several failed subtests is one."""
    ran = _number(r"^Ran (\d+) tests?", text)
    failed = len(set(re.findall(r"^(?:FAIL|ERROR): (\S+ \(\S+\))", text, re.MULTILINE)))
    skipped = _number(r"skipped=(\d+)", text)
    return Counts(max(ran - failed - skipped, 0), failed, skipped)


def common_test(text: str) -> Counts:
    """Of what ct:run_test returns: {Ok, Failed, {SkippedOnPurpose, SkippedByAFault}}."""
    found = re.search(r"^result \{(\d+),(\d+),\{(\d+),(\d+)\}\}", text, re.MULTILINE)
    if not found:
        return Counts()
    passed, failed, skipped, prevented = map(int, found.groups())
    return Counts(passed, failed + prevented, skipped)


def plain(text: str) -> Counts:
    """Of our own runners, whose last line is that of Counts.__str__."""
    found = re.findall(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", text, re.MULTILINE)
    return Counts(*map(int, found[-1])) if found else Counts()
