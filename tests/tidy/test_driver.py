# SPDX-License-Identifier: Apache-2.0
"""`make test` itself: it counts what runners print, and a runner that fails in silence is seen."""

import contextlib
import io
import sys
import unittest

from sources import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from dev import counts, steps  # noqa: E402
from dev.counts import Counts  # noqa: E402

GTEST = """[  FAILED  ] Queue.Wraps (28 ms)
[ RUN      ] Queue.Wraps
[==========] 147 tests from 20 test suites ran. (20263 ms total)
[  PASSED  ] 144 tests.
[  SKIPPED ] 2 tests, listed below:
"""
UNITTEST = """FAIL: test_a (m.C.test_a) (file='x')
FAIL: test_a (m.C.test_a) (file='y')
ERROR: test_b (m.C.test_b)
Ran 11 tests in 0.4s

FAILED (failures=2, errors=1, skipped=3)
"""


class Counting(unittest.TestCase):
    def test_reads_the_summary_of_each_runner(self) -> None:
        for parse, text, expected in (
                (counts.gtest, GTEST, Counts(144, 1, 2)),
                (counts.gtest, "[ RUN      ] Queue.Wraps\nSegmentation fault\n", Counts()),
                (counts.pytest, "===== 5 failed, 548 passed, 2 skipped in 3.21s =====\n",
                 Counts(548, 5, 2)),
                (counts.pytest, "3 passed, 1 error in 0.02s\n", Counts(3, 1, 0)),
                (counts.pytest, "554 passed, 2 skipped, 1 warning in 61.20s (0:01:01)\n",
                 Counts(554, 0, 2)),
                (counts.unittest, UNITTEST, Counts(6, 2, 3)),
                (counts.unittest, "Ran 11 tests in 0.4s\n\nOK\n", Counts(11, 0, 0)),
                (counts.common_test, "x\nresult {129,1,{2,3}}\n", Counts(129, 4, 2)),
                (counts.common_test, "result {error,whatever}\n", Counts()),
                (counts.plain, "ok a\n7 passed, 1 failed, 2 skipped\n", Counts(7, 1, 2))):
            with self.subTest(text=text):
                self.assertEqual(parse(text), expected)


class Running(unittest.TestCase):
    def take(self, *found: steps.Step) -> Counts:
        with contextlib.redirect_stdout(io.StringIO()):
            return steps.Run(found).all()

    def runner(self, shell: str) -> steps.Step:
        return steps.Step("driver-self-test", "", lambda job: job.tests(["sh", "-c", shell],
                                                                        counts.plain, timeout=1))

    def test_passes_what_passes(self) -> None:
        self.assertEqual(self.take(self.runner("echo 3 passed, 0 failed, 1 skipped")),
                         Counts(3, 0, 1))

    def test_fails_a_runner_that(self) -> None:
        for what, shell in (("crashes", "kill -SEGV $$"),
                            ("runs nothing", "true"),
                            ("fails after a good summary",
                             "echo 3 passed, 0 failed, 0 skipped; false"),
                            ("hangs", "sleep 60")):
            with self.subTest(what):
                self.assertEqual(self.take(self.runner(shell)).failed, 1)

    def test_fails_a_step_that_raises(self) -> None:
        def body(_job: steps.Job) -> Counts:
            raise KeyError("x")

        self.assertEqual(self.take(steps.Step("driver-self-test", "", body)), Counts(failed=1))

    def test_ends_with_why_a_step_failed(self) -> None:
        printed = io.StringIO()
        shell = ("echo a_SUITE:b: failed: '{assert,x}'; seq 999;"
                 "yes 'poll_wait() failed: einval' | head -999; kill -SEGV $$")
        with contextlib.redirect_stdout(printed):
            steps.Run([self.runner(shell)]).all()
        self.assertEqual([line.strip() for line in printed.getvalue().splitlines()[-4:]],
                         ["FAILED  driver-self-test: 0 passed, 1 failed, 0 skipped",
                          "a_SUITE:b: failed: {assert,x}", "poll_wait() failed: einval",
                          "exit status -11, and no failed test"])

    def test_skips_what_needs_a_failed_step(self) -> None:
        first = self.runner("false")
        second = steps.Step("driver-second", "", lambda job: Counts(passed=1), (first.name,))
        self.assertEqual(self.take(first, second), Counts(failed=1, skipped=1))
