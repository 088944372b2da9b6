# SPDX-License-Identifier: Apache-2.0
"""The runner itself: a good file passes, and each way to be wrong is seen."""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

import run

SAMPLES = Path(__file__).resolve().parent / "samples"
BROKEN = {
    "an erlang match fails": "```erlang\n{ok, 3} = {ok, 1 + 1}.\n```\n",
    "an erlang expression does not parse": "```erlang\nfoo(.\n```\n",
    "an erlang function does not exist": "```erlang\npy_channel:nothing().\n```\n",
    "an elixir match fails": "```elixir\n3 = 1 + 1\n```\n",
    "a python assertion fails": "```python\nassert 1 + 1 == 3\n```\n",
    "a python assertion in the VM fails":
        "<!-- snippet: python vm -->\n```python\nassert 1 + 1 == 3\n```\n",
    "a module does not compile": "<!-- snippet: python module=m -->\n```python\ndef\n```\n",
    "a command fails": "```sh\nfalse\ntrue\n```\n",
    "a block has no language": "```\nx\n```\n",
    "a block has an unknown language": "```rust\nx\n```\n",
    "a directive is misspelt": "<!-- snippet: pyhton vm -->\n```python\npass\n```\n",
    "a directive has no block": "<!-- snippet: python vm -->\n\ntext\n",
    "a block does not end": "```python\npass\n",
}


def outcome(file: Path) -> tuple[int, int, int]:
    with contextlib.redirect_stdout(io.StringIO()):
        return run.run_file(file)


class Runner(unittest.TestCase):
    def test_runs_every_kind_of_snippet(self) -> None:
        self.assertEqual(outcome(SAMPLES / "good.md"), (6, 0, 1))

    def test_fails_when(self) -> None:
        for what, text in BROKEN.items():
            with self.subTest(what), tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "broken.md"
                file.write_text(text)
                self.assertEqual(outcome(file), (0, 1, 0))
