# SPDX-License-Identifier: Apache-2.0
"""`make install`: the command `penstock`, the packages and the C++ library below a prefix, which
may be moved."""

import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from checkout import ROOT

TIMEOUT_S = 300


class Install(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory(prefix="penstock-install-")
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def run_command(self, *words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        settings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | env
        return subprocess.run(words, cwd=ROOT, env=settings, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)

    def test_the_command_and_the_packages_work_below_a_prefix(self) -> None:
        prefix = self.folder / "some where"
        done = self.run_command("make", "install", f"PREFIX={prefix}", PENSTOCK_NESTED="1")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(sorted(path.name for path in prefix.iterdir()), ["bin", "include", "lib"])
        self.assertTrue(list(prefix.glob("lib/**/PenstockConfig.cmake")))
        self.works(prefix)
        moved = self.folder / "elsewhere"
        shutil.move(prefix, moved)
        self.works(moved)
        link = self.folder / "penstock"
        link.symlink_to(moved / "bin/penstock")
        self.assertIn("usage: penstock", self.run_command(link, "--help").stdout)

    def works(self, prefix: Path) -> None:
        command = prefix / "bin/penstock"
        # As make's default Python, whichever is first in PATH here.
        told = self.run_command("/usr/bin/python3", "-B", command, "doctor", "--json")
        checks = {check["name"]: check for check in json.loads(told.stdout)["checks"]}
        self.assertEqual(checks["penstock"]["state"], "ok", checks["penstock"])
        self.assertIn(str(prefix), checks["penstock"]["found"])
        top = self.run_command("/usr/bin/python3", "-B", command, "top", str(os.getpid()))
        self.assertIn("shares no memory of Penstock's", top.stderr)
        self.assertEqual(top.returncode, 1)
        imported = self.run_command(
            "/usr/bin/python3", "-B", "-c", "import erlang; print(erlang.__file__)",
            PYTHONPATH=str(prefix / "lib/penstock/python"))
        self.assertIn(str(prefix), imported.stdout, imported.stderr)

    def test_a_checkout_that_was_not_built_says_so(self) -> None:
        command = self.folder / "bin/penstock"
        command.parent.mkdir()
        shutil.copy(ROOT / "pyext/bin/penstock", command)
        done = self.run_command(command, "top")
        self.assertEqual(done.returncode, 1)
        self.assertIn("run make build, or make install", done.stderr)
