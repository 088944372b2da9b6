# SPDX-License-Identifier: Apache-2.0
"""Atoms, functions that need an Erlang, and exceptions."""

from __future__ import annotations

import erlang
import pytest
import wire
from erlang import _native
from erlang._native import _decode


def test_an_atom_is_its_name_but_no_str() -> None:
    a = erlang.atom("name")
    assert str(a) == "name"
    assert repr(a) == "erlang.atom('name')"
    assert a == erlang.atom("name") and a is erlang.atom("name")
    assert a != "name" and not a == "name"
    assert hash(a) == hash("name")
    assert {a: 1}[erlang.atom("name")] == 1 and "name" not in {a: 1}


def test_atoms_are_ordered_among_themselves() -> None:
    names = ["b", "a", "é", "aa", ""]
    assert [str(a) for a in sorted(map(erlang.atom, names))] == sorted(names)
    assert erlang.atom("a") <= erlang.atom("a") < erlang.atom("b") > erlang.atom("a")
    with pytest.raises(TypeError):
        erlang.atom("a") < "b"  # type: ignore[operator]  # noqa: B015


def test_an_atom_has_at_most_255_characters() -> None:
    assert str(erlang.atom("é" * 255)) == "é" * 255
    with pytest.raises(ValueError, match="255"):
        erlang.atom("x" * 256)


@pytest.mark.parametrize("name", ["a\0b", "\0", "\ud800"])
def test_what_cannot_be_an_atom_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError):
        erlang.atom(name)


@pytest.mark.parametrize("name", [b"bytes", 1, None, ("a",)])
def test_a_name_of_another_type_is_a_type_error(name: object) -> None:
    with pytest.raises(TypeError, match="must be str"):
        erlang.atom(name)  # type: ignore[arg-type]


def test_a_str_that_lies_about_itself_makes_an_honest_atom() -> None:
    class Liar(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("other")

    erlang.atom("other")
    assert str(erlang.atom(Liar("liar"))) == "liar"
    assert type(str(erlang.atom(Liar("liar")))) is str


def test_types_of_erlang_cannot_be_made_or_changed_by_hand() -> None:
    for kind in (erlang.Atom, erlang.Pid, erlang.Ref, erlang.Port, erlang.Fun):
        with pytest.raises(TypeError, match="cannot create"):
            kind()
        with pytest.raises(TypeError):
            type("Sub", (kind,), {})
        with pytest.raises(TypeError):
            kind.x = 1  # type: ignore[attr-defined]
        assert kind.__module__ == "erlang"


PID = _decode(wire.pid_word(0x2A3))


@pytest.mark.parametrize("function", [erlang.send, erlang.reply])
def test_a_message_goes_to_a_pid_and_to_nothing_else(function: object) -> None:
    for target in (
        "name",
        erlang.atom("name"),
        None,
        1,
        _decode(wire.opaque(wire.REFERENCE, b"\x83Z")),
    ):
        with pytest.raises(TypeError, match="First argument must be an erlang.Pid"):
            function(target, 1)  # type: ignore[operator]
    for arguments in ((), (PID,), (PID, 1, 2)):
        with pytest.raises(TypeError, match="exactly 2 arguments"):
            function(*arguments)  # type: ignore[operator]


def test_without_an_erlang_there_is_nobody_to_send_to() -> None:
    for attempt in (
        lambda: erlang.send(PID, 1),
        lambda: erlang.reply(PID, 1),
        lambda: erlang.whereis("x"),
        lambda: erlang.whereis(b"x"),
        lambda: erlang.whereis(erlang.atom("x")),
    ):
        with pytest.raises(RuntimeError, match="not running inside Erlang"):
            attempt()


@pytest.mark.parametrize("name", [None, 1, ("x",), PID])
def test_whereis_takes_a_name(name: object) -> None:
    with pytest.raises(TypeError):
        erlang.whereis(name)  # type: ignore[arg-type]


def test_exceptions_derive_from_what_callers_expect() -> None:
    assert erlang.ChannelClosed.__mro__[1] is Exception
    assert erlang.ProcessError.__mro__[1] is Exception
    assert issubclass(erlang.SuspensionRequired, BaseException)
    assert not issubclass(erlang.SuspensionRequired, Exception)
    assert issubclass(erlang.ApplicationStopped, SystemExit)
    for kind in (erlang.ChannelClosed, erlang.ApplicationStopped):
        assert kind.__module__ == "erlang" and kind.__doc__


def test_a_second_copy_of_the_module_has_types_of_its_own() -> None:
    import importlib.util

    spec = importlib.util.find_spec("erlang._native")
    assert spec is not None and spec.loader is not None
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    assert other is not _native and other.Pid is not _native.Pid
    assert other._decode(other._encode((1, "x"))) == (1, "x")
    with pytest.raises(TypeError, match="Pid"):
        other._encode(PID)
