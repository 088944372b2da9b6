# SPDX-License-Identifier: Apache-2.0
"""One version, written in each place where some tool reads it."""

import re
import unittest

from sources import read

PLACES = {
    "CMakeLists.txt": r"project\(penstock VERSION (\S+)",
    "nif/penstock.app.src": r'\{vsn, "([^"]+)"\}',
    "pyproject.toml": r'^version = "([^"]+)"',
    "pyext/erlang/__init__.py": r'^__version__ = "([^"]+)"',
    "pyext/penstock/__init__.py": r'^__version__ = "([^"]+)"',
}


class Versions(unittest.TestCase):
    def test_agree(self) -> None:
        found = {}
        for name, pattern in PLACES.items():
            match = re.search(pattern, read(name), re.MULTILINE)
            self.assertIsNotNone(match, name)
            found[name] = match[1]
        self.assertEqual(len(set(found.values())), 1, found)
        self.assertIn(f"## {found['CMakeLists.txt']} ", read("CHANGELOG.md"))
