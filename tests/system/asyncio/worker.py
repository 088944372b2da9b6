# SPDX-License-Identifier: Apache-2.0
"""worker.py FACTORY RESULTS MODULE [DONE ...]: runs one module of test.test_asyncio on a loop.

Every loop that the tests ask asyncio for is made by FACTORY ("erlang:new_event_loop"). RESULTS gets
a line of JSON when a test starts and one when it ends, so that whoever started this knows which
test a crash or a hang belongs to. Tests named DONE are left out.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fnmatch
import importlib
import json
import os
import sys
import unittest
from collections.abc import Callable, Iterator
from typing import TextIO

PACKAGE = "test.test_asyncio"
LIMIT_S = 30.0
# The same tests once more, on loops over other selectors (what is under test has none), with other
# child watchers, with tasks and futures written in Python.
REPEATED = ("Poll*", "Select*LoopTests", "SubprocessFast*", "SubprocessSafe*", "Subprocess*Multi*",
            "PyTask*", "CTaskSubclass*", "CTask_CFuture_Sub*", "CTask_PyFuture*")

made = 0


def factory_named(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def install(new_loop: Callable[[], asyncio.AbstractEventLoop], backend: str | None) -> None:
    """asyncio's own names for loops now make the loop under test."""
    probe = new_loop()
    kind = type(probe)
    if backend is not None and probe.backend != backend:
        sys.exit(f"the loop's backend is {probe.backend}, and was to be {backend}")
    probe.close()

    class OfThatKind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, kind)

        def __subclasscheck__(cls, other: type) -> bool:
            return issubclass(other, kind)

    class LoopUnderTest(metaclass=OfThatKind):
        def __new__(cls, selector: object = None) -> asyncio.AbstractEventLoop:
            if selector is not None:
                selector.close()
            global made
            made += 1
            return new_loop()

    for name in ("SelectorEventLoop", "EventLoop"):
        if hasattr(asyncio, name):
            setattr(asyncio, name, LoopUnderTest)
    asyncio.DefaultEventLoopPolicy._loop_factory = LoopUnderTest


def short(test: unittest.TestCase) -> str:
    return test.id().removeprefix(f"{PACKAGE}.")


class Recorder(unittest.TestResult):
    """Writes down what happens as it happens."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._out = out
        self._outcome: dict[str, str] = {}
        self._loops_before = 0

    def _write(self, **row: str | int) -> None:
        self._out.write(json.dumps(row) + "\n")
        self._out.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._loops_before = made
        self._outcome = {"outcome": "passed"}
        self._write(started=short(test))
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)

    def stopTest(self, test: unittest.TestCase) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._write(test=short(test), loops=made - self._loops_before, **self._outcome)
        super().stopTest(test)

    def _failed(self, test: unittest.TestCase, error: tuple) -> None:
        detail = self._exc_info_to_string(error, test)
        if isinstance(test, unittest.TestCase):
            self._outcome = {"outcome": "failed", "detail": detail}
        else:  # A fixture of a class or of the module.
            self._write(test=test.id().replace(f"{PACKAGE}.", ""), loops=1, outcome="failed",
                        detail=detail)

    def addFailure(self, test: unittest.TestCase, error: tuple) -> None:
        self._failed(test, error)

    def addError(self, test: unittest.TestCase, error: tuple) -> None:
        self._failed(test, error)

    def addSubTest(self, test: unittest.TestCase, _sub: object, error: tuple | None) -> None:
        if error is not None:
            self._failed(test, error)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._outcome = {"outcome": "skipped", "detail": reason}


def wanted(suite: unittest.TestSuite, done: set[str]) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from wanted(test, done)
        elif short(test) not in done and not any(fnmatch.fnmatch(type(test).__name__, pattern)
                                                 for pattern in REPEATED):
            yield test


def main(factory: str, results: str, module: str, *done: str) -> None:
    faulthandler.enable()
    install(factory_named(factory),
            os.environ.get("PENSTOCK_LOOP_BACKEND") if factory.startswith("erlang:") else None)
    found = unittest.defaultTestLoader.loadTestsFromName(f"{PACKAGE}.{module}")
    with open(results, "a") as out:
        unittest.TestSuite(wanted(found, set(done))).run(Recorder(out))
        out.write(json.dumps({"ended": module}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
