# SPDX-License-Identifier: Apache-2.0
"""Memory orders are spelled out, and their edges are the rows of docs/memory-model.md."""

import re
import unittest
from collections.abc import Iterable

from sources import CPP, PRODUCT, RuleTest, files, read, without_comments

SHIM = "core/include/penstock/shim.hpp"
MEMORY_MODEL = "docs/memory-model.md"
OPERATION = re.compile(r"(?:\.|->)(load|store|exchange|fetch_\w+|compare_exchange_\w+)\s*\(")
EDGE = re.compile(
    r'(?:order::(?:acquire|release|acq_rel)\s*\(|full_fence\s*\([^;"]*?)\s*"(\w+)"')
ROW = re.compile(r"^\| *([A-Z]\d+) *\|(.*)\|\s*$", re.MULTILINE)


def arguments(text: str, start: int) -> str:
    """What stands between the parenthesis that ends at `start` and the one that closes it."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return text[start:]


def has_no_default_order(_name: str, text: str) -> Iterable[str]:
    code = without_comments(text)
    for found in OPERATION.finditer(code):
        given = arguments(code, found.end())
        if not re.search(r"\border\b|order::|memory_order", given):
            yield f"line {code.count(chr(10), 0, found.start()) + 1}: {found[1]}({given.strip()})"


def has_no_operator_on_an_atomic(_name: str, text: str) -> Iterable[str]:
    """`word++` and `word = 1` are sequentially consistent without saying so."""
    code = without_comments(text)
    for word in set(re.findall(r"\b(?:std::a|A)tomic<[^;=(]*?>\s+(\w+)\s*[{;=]", code)):
        pattern = rf"(?<![\w.>*&] )(?<!\w)(?:\+\+|--)?\b{word}\b\s*(?:\+\+|--|[-+|&^]?=(?!=))"
        for found in re.finditer(pattern, code):
            line = code.count("\n", 0, found.start()) + 1
            declared = code.splitlines()[line - 1]
            if "tomic<" not in declared:
                yield f"line {line}: {declared.strip()}"


def orders_only_through_named_edges(_name: str, text: str) -> Iterable[str]:
    code = without_comments(text)
    pattern = r"memory_order(?:::|_)(?:acquire|release|acq_rel|seq_cst|consume)|atomic_thread_fence"
    for found in re.finditer(pattern, code):
        yield f"line {code.count(chr(10), 0, found.start()) + 1}: {found[0]}"


def edges(text: str) -> set[str]:
    return set(EDGE.findall(without_comments(text)))


class Atomics(RuleTest):
    def test_every_access_has_an_order(self) -> None:
        names = [name for name in files(PRODUCT, CPP) if name != SHIM]
        self.check(has_no_default_order, names, planted=("x", "a.store(1);"))
        self.check(has_no_operator_on_an_atomic, names,
                   planted=("x", "Atomic<int> count_{0};\nvoid f() { count_++; }"))

    def test_acquire_release_and_fences_come_from_the_shim(self) -> None:
        names = [name for name in files(PRODUCT, CPP) if name != SHIM]
        self.check(orders_only_through_named_edges, names,
                   planted=("x", "a.load(std::memory_order_acquire)"))

    def test_edges_in_the_code_are_the_rows_of_the_memory_model(self) -> None:
        self.assertEqual(edges('full_fence(w,\n  "W9"); x.load(order::acquire("Q8"))'),
                         {"W9", "Q8"})
        in_code = set().union(*(edges(read(name)) for name in files(PRODUCT, CPP)
                                if name != SHIM))
        rows = dict(ROW.findall(read(MEMORY_MODEL)))
        # An edge inside a library has a row, but no place of ours to be named at.
        ours = {edge for edge, row in rows.items() if "inside Boost" not in row}
        self.assertEqual(in_code - set(rows), set(), "edges without a row")
        self.assertEqual(ours - in_code, set(), "rows without an edge")


if __name__ == "__main__":
    unittest.main()
