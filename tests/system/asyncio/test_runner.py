# SPDX-License-Identifier: Apache-2.0
"""run.py itself: it sees crashes, and an exception that is none."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import unittest
from pathlib import Path
from unittest import mock

import run
from run import Exceptions, Outcome

ENTRIES = """
[[exception]]
tests = ["m.C.test_listed", "m.C.test_mended", "m.C.test_gone"]
reason = "x"
[[exception]]
tests = ["m.C.test_elsewhere"]
reason = "x"
python = ["2.7"]
"""


class Runner(unittest.TestCase):
    def judged(self, whole: bool) -> dict[str, str]:
        with mock.patch.object(Path, "read_text", return_value=ENTRIES):
            exceptions = Exceptions("3.11", "epoll")
        outcomes = [Outcome("m.C.test_listed", "failed"), Outcome("m.C.test_mended", "passed"),
                    Outcome("m.C.test_elsewhere", "failed"), Outcome("m.C.test_fine", "passed")]
        self.assertEqual(exceptions.judge(outcomes, whole), 1)
        return {found.test.rpartition("_")[2]: found.outcome for found in outcomes}

    def test_an_exception_must_fail_and_exist(self) -> None:
        expected = {"listed": "skipped", "mended": "failed", "elsewhere": "failed",
                    "fine": "passed"}
        self.assertEqual(self.judged(False), expected)
        self.assertEqual(self.judged(True), expected | {"gone": "failed"})

    def test_a_crash_is_the_failure_of_one_test(self) -> None:
        path = {"PYTHONPATH": f"{run.HERE}:{os.environ.get('PYTHONPATH', '')}"}
        with mock.patch.dict(os.environ, path):
            expected = run.take(sys.executable, "asyncio:SelectorEventLoop", "test_queues")
            found = run.take(sys.executable, "faulty:new_event_loop", "test_queues")
        self.assertEqual([one.test for one in found], [one.test for one in expected])
        crashed = [one for one in found if one.outcome == "failed"]
        # One loop is the probe, one is of a test that passes, one ends the process.
        self.assertEqual(len(crashed), len(found) // 2)
        self.assertTrue(all("Aborted" in one.detail for one in crashed))

    def test_a_loop_that_cannot_be_made_is_a_failure(self) -> None:
        found = run.take(sys.executable, "nowhere:new_event_loop", "test_queues")
        self.assertEqual([one.outcome for one in found], ["failed"])
        self.assertEqual(run.about_loops(found), found)

    def test_nothing_is_no_success(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(run.report([], 0, 0.0), 1)
            self.assertEqual(run.report([Outcome("m.C.t", "failed")], 0, 0.0), 1)
            self.assertEqual(run.report([Outcome("m.C.t", "passed")], 0, 0.0), 0)
