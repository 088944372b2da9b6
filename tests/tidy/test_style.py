# SPDX-License-Identifier: Apache-2.0
"""Licence lines, sizes, words, and no sleeping in tests."""

import re
from collections.abc import Iterable

from sources import CPP, RuleTest, files, lines_matching, tracked

CODE = (".cpp", ".hpp", ".erl", ".hrl", ".py", ".pyi", ".escript", ".cmake", "CMakeLists.txt",
        ".ex", ".exs")
FOLDERS = ("core/", "io_uring/", "pyext/", "nif/", "tests/", "bench/", "scripts/", "examples/",
           "cmake/", "CMakeLists.txt")
MAX_LINES = 600
MAX_COLUMNS = 100
SPDX = "SPDX-License-Identifier: Apache-2.0"
# Split, so that this file does not break its own rule.
FOSSILS = r"\b(TODO\(now" + r"\)|FIX" + r"ME|XX" + r"X\b)"
SLEEP = (r"\bsleep_(for|until)\b|\b(u|nano)?sleep\(|\btimer:sleep\b|receive after (?!0\b)\d+ ->"
         r"|\bclock_nanosleep\b")
ALLOWED = r"sleep: \w+|sleep\(0\)"


def starts_with_its_licence(_name: str, text: str) -> Iterable[str]:
    head = [line for line in text.splitlines() if not line.startswith(("#!", "%% -*-", "%%!"))]
    if text.strip() and (not head or SPDX not in head[0]):
        yield "the first line is not the SPDX line"


def is_not_too_long(name: str, text: str) -> Iterable[str]:
    if text.count("\n") > MAX_LINES:
        yield f"{text.count(chr(10))} lines; split it"
    # The lines of C++ are clang-format's business.
    for number, line in enumerate(() if name.endswith(CPP) else text.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            yield f"line {number} has {len(line)} columns"


def says_nothing_that_was_to_go(_name: str, text: str) -> Iterable[str]:
    return lines_matching(FOSSILS, text)


def does_not_sleep(_name: str, text: str) -> Iterable[str]:
    """Wait for a condition with a deadline instead. A sleep that is the very subject of a test
    says so: `sleep: reason` on its line or the one above."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        code = re.sub(r"^\s*(//|%|#|\"\"\"|\*).*", "", line)
        near = lines[max(number - 1, 0)] + line
        if re.search(SLEEP, code) and not re.search(ALLOWED, near):
            yield f"line {number + 1}: {line.strip()}"


class Style(RuleTest):
    def test_every_source_starts_with_its_licence(self) -> None:
        self.check(starts_with_its_licence, files(FOLDERS, CODE), planted=("x.py", "import os\n"))

    def test_files_and_lines_are_not_too_long(self) -> None:
        self.check(is_not_too_long, files(FOLDERS, CODE), planted=("x.py", "\n" * 601))

    def test_nothing_is_left_to_do(self) -> None:
        names = [name for name in tracked() if name.endswith((*CODE, ".md", ".config", ".exs"))]
        self.check(says_nothing_that_was_to_go, names, planted=("x", "// FIX" + "ME"))

    def test_tests_do_not_sleep(self) -> None:
        # The explorer's threads sleep in a time of their own.
        elsewhere = ("tests/tidy/", "tests/model/")
        names = [name for name in files(("tests/",), CODE) if not name.startswith(elsewhere)]
        self.check(does_not_sleep, names, planted=("x.erl", "    timer:" + "sleep(100),"))
