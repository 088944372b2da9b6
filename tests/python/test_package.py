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
    sources = (_native, erlang.calls, erlang.eventloop, erlang.sharing, erlang._policy,
               erlang._spawn)
    for name in erlang.__all__:
        found = [getattr(source, name) for source in sources if name in vars(source)]
        assert getattr(erlang, name) in found, name
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


def in_a_subinterpreter(code: str) -> str:
    """What code prints there. Three times, because an interpreter leaves things behind for the next
    one. The process ends without finalizing: 3.12.1 does not survive that after `import asyncio` in
    a subinterpreter, with or without us."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    program = (
        f"import os, sys, {name} as subinterpreters\n"
        "for _ in range(3):\n"
        "    interpreter = subinterpreters.create()\n"
        f"    failed = subinterpreters.run_string(interpreter, {code!r})\n"
        "    subinterpreters.destroy(interpreter)\n"
        "    if failed: print(failed)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return result.stdout


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="it works")
def test_a_subinterpreter_is_refused_clearly() -> None:
    said = in_a_subinterpreter(
        "try:\n"
        "    import erlang\n"
        "except ImportError as error:\n"
        "    print('refused', error)\n"
        "else:\n"
        "    print('imported')\n"
    )
    assert said.splitlines() == ["refused erlang._native works in the main interpreter only"] * 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="refused, see above")
def test_a_subinterpreter_has_a_package_of_its_own() -> None:
    said = in_a_subinterpreter(
        "import asyncio, erlang\n"
        "from erlang import ByteChannel, Channel, _native\n"
        "channel = Channel(_native._new_channel(0))\n"
        "term = {'a': [1, b'x' * 100000, 'text']}\n"
        "channel.send(term)\n"
        "assert channel.receive() == term\n"
        "async def main():\n"
        "    waiting = asyncio.ensure_future(channel.async_receive())\n"
        "    await asyncio.sleep(0)\n"
        "    channel.send('later')\n"
        "    return await waiting\n"
        "print(asyncio.run(main()))\n"
    )
    assert said.splitlines() == ["later"] * 3
