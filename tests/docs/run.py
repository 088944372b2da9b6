# SPDX-License-Identifier: Apache-2.0
"""Executes the snippets of README.md and docs/*.md, or of the files named.

Each fenced block runs in a fresh process, with the built application and package:

    erlang   expressions, in a VM in which penstock has been started; assertions are matches
    elixir   a script, likewise
    python   a script for a plain python3; assertions are `assert`
    sh       a script for `sh -eu`, in the root of the repository
    text, cpp, console   are shown, not run; any other tag, or none, is an error

A comment on the line before a block changes that:

    <!-- snippet: python module=NAME -->  the block is NAME.py, to be imported by the file's blocks
    <!-- snippet: python vm -->           the block runs inside the VM
    <!-- snippet: not run: REASON -->     counted and shown as skipped

Prints a line for each failure, and at last `N passed, N failed, N skipped`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from snippets import SHOWN, Malformed, Snippet, parse

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = os.environ.get("PENSTOCK_PYTHON") or "/usr/bin/python3"
PACKAGE = ROOT / "build/release/python"
TIMEOUT_S = 120


def command(snippet: Snippet, folder: Path) -> list[str]:
    """How to run it; `folder` is for its files."""
    suffix = {"erlang": "erl", "elixir": "exs", "python": "py", "sh": "sh"}[snippet.language]
    script = folder / f"snippet_{snippet.line}.{suffix}"
    code = snippet.code
    if snippet.language == "elixir":
        code = "{:ok, _} = Application.ensure_all_started(:penstock)\n" + code
    script.write_text(code)
    if snippet.module:
        return [PYTHON, "-c", f"import {snippet.module}"]
    if snippet.in_vm or snippet.language == "erlang":
        return ["escript", str(HERE / "evaluate.escript"), snippet.language, str(script)]
    return {"elixir": ["elixir", str(script)], "python": [PYTHON, str(script)],
            "sh": ["sh", "-eu", str(script)]}[snippet.language]


def failure_of(snippet: Snippet, folder: Path) -> str:
    """Empty if it ran well."""
    paths = [str(folder), str(PACKAGE), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": ":".join(filter(None, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command(snippet, folder), cwd=ROOT, env=env, timeout=TIMEOUT_S,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return f"took longer than {TIMEOUT_S} s"
    return f"exit status {done.returncode}\n{done.stdout}" if done.returncode else ""


def run_file(file: Path) -> tuple[int, int, int]:
    try:
        found = [snippet for snippet in parse(file) if snippet.language not in SHOWN]
    except Malformed as error:
        print(f"FAILED {error}")
        return 0, 1, 0
    failed = skipped = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for snippet in found:
            if snippet.module:
                (folder / f"{snippet.module}.py").write_text(snippet.code)
        for snippet in found:
            if snippet.not_run:
                skipped += 1
                print(f"skipped {snippet}: {snippet.not_run}")
                continue
            failure = failure_of(snippet, folder)
            failed += bool(failure)
            print(f"FAILED {snippet}: {failure}" if failure else f"ok {snippet}", flush=True)
    return len(found) - failed - skipped, failed, skipped


def main(names: list[str]) -> int:
    documents = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    files = [Path(name) for name in names] or documents
    passed, failed, skipped = (sum(column) for column in zip(*map(run_file, files)))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
