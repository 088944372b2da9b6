# SPDX-License-Identifier: Apache-2.0
"""The Pythons to test with, and pytest for those that have none."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

from .steps import ROOT

DEFAULT = "/usr/bin/python3"
OTHERS = ("3.12", "3.13")
# Pure Python in Debian's package folder: they run on every version we test.
PYTEST_MODULES = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "attr", "attrs",
                  "hypothesis", "sortedcontainers", "_hypothesis_ftz_detector.py",
                  "_hypothesis_pytestplugin.py", "_hypothesis_globals.py")
DEBIAN_PACKAGES = Path("/usr/lib/python3/dist-packages")


def chosen() -> str:
    """PYTHON= of make."""
    return os.environ.get("PENSTOCK_PYTHON") or DEFAULT


def other(version: str) -> str | None:
    """pyenv's newest python of that version, if built with a shared libpython."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(root.glob(f"versions/{version}.*"), reverse=True):
        if any(folder.glob("lib/libpython3.*.so.*")) and (folder / "bin/python3").exists():
            return str(folder / "bin/python3")
    return None


@cache
def pytest_path(python: str) -> str:
    """What PYTHONPATH needs besides the package so that `python -m pytest` runs."""
    probe = subprocess.run([python, "-c", "import pytest, hypothesis"], capture_output=True)
    if probe.returncode == 0:
        return ""
    folder = ROOT / "build/pytest"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PYTEST_MODULES:
        target, link = DEBIAN_PACKAGES / name, folder / name
        if target.exists() and not link.exists():
            link.symlink_to(target)
    return str(folder)


def version_of(python: str) -> str:
    code = "import json, sys; print(json.dumps(sys.version.split()[0]))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return json.loads(found.stdout) if found.returncode == 0 else "unknown"
