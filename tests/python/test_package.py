# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: what it exports, and that its types are described."""

from __future__ import annotations

import ast
import os
import pathlib
import subprocess
import sys

import erlang
import erlang.channel
import pytest
from erlang import _native

PACKAGE = pathlib.Path(erlang.__file__).parent


def stub_names(body: list[ast.stmt]) -> set[str]:
    names = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names |= {
        node.target.id
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return names


def public(names: set[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


STUB = ast.parse((PACKAGE / "_native.pyi").read_text())


def test_the_stub_names_what_the_module_has() -> None:
    assert public(stub_names(STUB.body)) == public(set(dir(_native)))


@pytest.mark.parametrize(
    "kind",
    [
        "Channel", "ByteChannel", "ByteView", "ChannelIterator", "ReceiveAwaitable", "PyBuffer",
        "Atom", "Pid", "Ref",
    ],
)
def test_the_stub_names_the_methods_that_each_class_has(kind: str) -> None:
    (node,) = [n for n in STUB.body if isinstance(n, ast.ClassDef) and n.name == kind]
    assert public(stub_names(node.body)) == public(set(dir(getattr(_native, kind))))


def test_every_public_function_has_a_signature_and_a_docstring() -> None:
    import inspect

    for function in (erlang.send, erlang.reply, erlang.whereis, erlang.atom):
        assert function.__doc__
        inspect.signature(function)
    for name in ("receive", "try_receive", "async_receive", "send", "try_send", "close", "info"):
        method = getattr(erlang.Channel, name)
        assert method.__doc__
        inspect.signature(method)


def test_the_package_exports_exactly_what_it_says() -> None:
    assert set(erlang.__all__) <= set(dir(erlang))
    in_python = {"Function", "async_call", "sleep"}
    for name in erlang.__all__:
        source = erlang.calls if name in in_python else _native
        assert getattr(erlang, name) is getattr(source, name)
    assert set(erlang.channel.__all__) == {"Channel", "ChannelClosed", "reply"}
    assert erlang.channel.Channel is erlang.Channel
    assert (PACKAGE / "py.typed").exists()
    assert erlang.__version__


def test_the_types_are_strict() -> None:
    mypy = subprocess.run(
        [sys.executable, "-m", "mypy", "--version"], capture_output=True, check=False
    )
    if mypy.returncode != 0:
        pytest.skip(f"no mypy for {sys.executable}")
    source = pathlib.Path(__file__).parents[2] / "pyext" / "erlang"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--cache-dir",
            os.devnull,
            str(source),
        ],
        env={**os.environ, "MYPYPATH": str(source.parent), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_subinterpreter_is_refused_clearly() -> None:
    code = (
        "import {0} as subinterpreters\n"
        "interpreter = subinterpreters.create()\n"
        "subinterpreters.run_string(interpreter, '''\n"
        "try:\n"
        "    import erlang\n"
        "except ImportError as error:\n"
        "    print('refused', error)\n"
        "else:\n"
        "    print('imported')\n"
        "''')\n"
    ).format("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("refused"), result.stderr
