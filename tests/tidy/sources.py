# SPDX-License-Identifier: Apache-2.0
"""The files that the house rules are about, and how a rule is applied to them."""

import re
import subprocess
import unittest
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("core/", "io_uring/", "pyext/", "nif/")
CPP = (".cpp", ".hpp")

Rule = Callable[[str, str], Iterable[str]]
"""Path and text of a file to complaints about it."""


@cache
def tracked() -> tuple[str, ...]:
    """Tracked files and new ones that git does not ignore, relative to the root."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True,
                            text=True).stdout
    return tuple(sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file()))


def files(folders: tuple[str, ...], suffixes: tuple[str, ...]) -> list[str]:
    return [name for name in tracked() if name.startswith(folders) and name.endswith(suffixes)]


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text()


def without_comments(text: str) -> str:
    """C++ with comments blanked out; lines keep their numbers."""
    blank = lambda found: re.sub(r"[^\n]", " ", found[0])
    return re.sub(r"//[^\n]*|/\*.*?\*/", blank, text, flags=re.DOTALL)


def lines_matching(pattern: str, text: str) -> Iterable[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(pattern, line):
            yield f"line {number}: {line.strip()}"


class RuleTest(unittest.TestCase):
    """A rule holds for all its files, there are some, and it sees a planted fault."""

    def check(self, rule: Rule, names: list[str], *, planted: tuple[str, str]) -> None:
        self.assertTrue(names, "no file to check")
        self.assertTrue(list(rule(*planted)), "the rule does not see a planted fault")
        for name in names:
            with self.subTest(file=name):
                self.assertEqual(list(rule(name, read(name))), [])
