# SPDX-License-Identifier: Apache-2.0
"""Fenced blocks of a Markdown file, and what is to be done with them."""

import re
from dataclasses import dataclass
from pathlib import Path

EXECUTED = ("erlang", "elixir", "python", "sh")
SHOWN = ("text", "cpp", "console")
_DIRECTIVE = re.compile(r"^<!-- snippet: (.*?) -->$")
_FENCE = re.compile(r"^\s*```(\S*)\s*$")


class Malformed(Exception):
    """The file breaks the convention; the text says where."""


@dataclass(frozen=True)
class Snippet:
    file: Path
    line: int
    language: str
    code: str
    module: str = ""  # python: written as <module>.py, importable in every block of the file
    in_vm: bool = False  # python: run inside the VM
    not_run: str = ""  # why

    def __str__(self) -> str:
        return f"{self.file.name}:{self.line} ({self.language})"


def parse(file: Path) -> list[Snippet]:
    snippets: list[Snippet] = []
    directive, opened, language = "", 0, ""
    code: list[str] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened and not fence:
            code.append(line)
        elif opened:
            snippets.append(_snippet(file, opened, language, "\n".join(code) + "\n", directive))
            directive, opened, code = "", 0, []
        elif fence:
            opened, language = number, fence[1]
        elif found := _DIRECTIVE.match(line):
            directive = found[1]
        elif line.strip() and directive:
            raise Malformed(f"{file.name}:{number}: a snippet directive without a block")
    if opened or directive:
        raise Malformed(f"{file.name}: ends inside a block")
    return snippets


def _snippet(file: Path, line: int, language: str, code: str, directive: str) -> Snippet:
    if language not in EXECUTED + SHOWN:
        raise Malformed(f"{file.name}:{line}: no language, or an unknown one: {language!r}")
    options = {}
    if found := re.fullmatch(r"python module=(\w+)", directive):
        options["module"] = found[1]
    elif directive == "python vm":
        options["in_vm"] = True
    elif found := re.fullmatch(r"not run: (.+)", directive):
        options["not_run"] = found[1]
    elif directive:
        raise Malformed(f"{file.name}:{line}: unknown directive {directive!r}")
    if ("module" in options or "in_vm" in options) and language != "python":
        raise Malformed(f"{file.name}:{line}: {directive!r} before a block that is not python")
    return Snippet(file, line, language, code, **options)
