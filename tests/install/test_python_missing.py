# SPDX-License-Identifier: Apache-2.0
"""A build that cannot work stops at once and names the Debian package."""

import glob
import unittest
from pathlib import Path

from checkout import Checkout


class NoUsablePython(unittest.TestCase):
    def setUp(self) -> None:
        self.checkout = Checkout(self)

    def refusal(self, command: list[str], **env: str) -> str:
        """What the build says, on one line."""
        output = self.checkout.run(command, self.checkout.source, succeeds=False, **env)
        self.assertFalse((self.checkout.source / "priv/penstock_nif.so").exists())
        return " ".join(output.split())

    def test_rebar3_names_the_package_when_there_is_no_python(self) -> None:
        said = self.refusal(["rebar3", "compile"], PENSTOCK_PYTHON="/nonexistent")
        self.assertIn("No Python at /nonexistent", said)
        self.assertIn("apt-get install python3 python3-dev libpython3-dev", said)

    def test_rebar3_names_the_package_when_python_is_too_old(self) -> None:
        found = sorted(glob.glob("/root/.pyenv/versions/3.10.*/bin/python3")
                       + glob.glob(str(Path.home() / ".pyenv/versions/3.10.*/bin/python3")))
        if not found:
            self.skipTest("pyenv has no Python 3.10")
        said = self.refusal(["rebar3", "compile"], PENSTOCK_PYTHON=found[0])
        self.assertRegex(said, r"is Python 3\.10\.\d+; Penstock needs 3\.11 or newer")
        self.assertIn("apt-get install python3 python3-dev libpython3-dev", said)

    def test_cmake_names_the_package_when_libpython_is_missing(self) -> None:
        hidden = glob.glob("/usr/lib/python3.*/config-3.*") + [
            "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib", "/lib"]
        said = self.refusal(["cmake", "-S", ".", "-B", "build/x", "-G", "Ninja",
                             f"-DCMAKE_IGNORE_PATH={';'.join(hidden)}"])
        self.assertIn("apt-get install python3-dev libpython3-dev", said)

    def test_cmake_names_the_package_when_headers_are_missing(self) -> None:
        hidden = glob.glob("/usr/include/python3.*")
        said = self.refusal(["cmake", "-S", ".", "-B", "build/x", "-G", "Ninja",
                             f"-DCMAKE_IGNORE_PATH={';'.join(hidden)}"])
        self.assertIn("apt-get install python3-dev libpython3-dev", said)
