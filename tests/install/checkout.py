# SPDX-License-Identifier: Apache-2.0
"""A copy of the repository, as somebody who depends on it has it: without anything built."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 300


class Checkout:
    """Lives as long as the test."""

    def __init__(self, test: unittest.TestCase) -> None:
        self._test = test
        holder = tempfile.TemporaryDirectory(prefix="penstock-install-")
        test.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.source = self.folder / "penstock"
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True,
                                text=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "perf/")):
                (self.source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.source / name)

    def copy(self, project: Path) -> Path:
        return Path(shutil.copytree(project, self.folder / project.name))

    def as_git_repository(self) -> str:
        """Commits the copy; returns its address."""
        author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        for words in (["init", "-q", "-b", "main"], ["add", "-A"],
                      [*author, "commit", "-q", "-m", "copy"]):
            self.run(["git", *words], self.source)
        return f"file://{self.source}"

    def run(self, command: list[str], cwd: Path, *, succeeds: bool = True, **env: str) -> str:
        # Relative paths in the compiler's cache: this copy's are those of any other.
        settings = os.environ | {"CCACHE_BASEDIR": str(self.folder), "CCACHE_NOHASHDIR": "1"} | env
        settings.pop("ERL_LIBS", None) if "ERL_LIBS" not in env else None
        done = subprocess.run(command, cwd=cwd, env=settings, timeout=TIMEOUT_S, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, errors="replace")
        print(f"$ {' '.join(command)}\n{done.stdout}")
        self._test.assertEqual(done.returncode == 0, succeeds, done.stdout[-3000:])
        return done.stdout
