# SPDX-License-Identifier: Apache-2.0
"""What Python objects become."""

from __future__ import annotations

import array
import collections
import enum
import math
import struct

import erlang
import pytest
import wire
from erlang import _native
from erlang._native import _encode, _encode_reply


class Number(int):
    pass


class Text(str):
    pass


class Fraction(float):
    pass


class Colour(enum.IntEnum):
    RED = 3


class Mode(enum.Enum):
    ON = 1


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, wire.NONE),
        (True, wire.TRUE),
        (False, wire.FALSE),
        (0, wire.integer(0)),
        (255, wire.integer(255)),
        (256, wire.integer(256)),
        (-1, wire.integer(-1)),
        (2**31 - 1, wire.integer(2**31 - 1)),
        (2**31, b"\x6e\x04\x00" + (2**31).to_bytes(4, "little")),
        (-(2**31), wire.integer(-(2**31))),
        (2**63, b"\x6e\x08\x00" + (2**63).to_bytes(8, "little")),
        (-(2**63) - 1, b"\x6e\x08\x01" + (2**63 + 1).to_bytes(8, "little")),
        (2**64 - 1, b"\x6e\x08\x00" + b"\xff" * 8),
        (256**255 - 1, b"\x6e\xff\x00" + b"\xff" * 255),
        (256**255, b"\x6f\x00\x00\x01\x00\x00" + b"\x00" * 255 + b"\x01"),
        (1.5, b"\x46" + struct.pack(">d", 1.5)),
        (-0.0, b"\x46" + struct.pack(">d", -0.0)),
        (5e-324, b"\x46" + struct.pack(">d", 5e-324)),
        (math.nan, wire.atom("nan")),
        (math.inf, wire.atom("infinity")),
        (-math.inf, wire.atom("neg_infinity")),
        ("", wire.binary(b"")),
        ("a\0b", wire.binary(b"a\0b")),
        ("é", wire.binary("é".encode())),
        ("€", wire.binary("€".encode())),
        ("a😀", wire.binary("a😀".encode())),
        (b"", wire.python_bytes(b"")),
        (b"\xff", wire.python_bytes(b"\xff")),
        (bytearray(b"abc"), wire.python_bytes(b"abc")),
        (memoryview(b"abcdef")[::2], wire.python_bytes(b"ace")),
        (memoryview(b"abc"), wire.python_bytes(b"abc")),
        (memoryview(array.array("H", [1, 2])), wire.python_bytes(struct.pack("=HH", 1, 2))),
        ((), wire.tuple_of()),
        ((1, "x"), wire.tuple_of(wire.integer(1), wire.binary(b"x"))),
        ([], wire.NIL),
        ([1, [2]], wire.list_of(wire.integer(1), wire.list_of(wire.integer(2)))),
        ({}, wire.map_of()),
        ({"a": 1}, wire.map_of((wire.binary(b"a"), wire.integer(1)))),
        (Number(7), wire.integer(7)),
        (Number(2**70), b"\x6e\x09\x00" + (2**70).to_bytes(9, "little")),
        (Text("é"), wire.binary("é".encode())),
        (Fraction(1.5), b"\x46" + struct.pack(">d", 1.5)),
        (Colour.RED, wire.integer(3)),
        (Point(1, 2), wire.tuple_of(wire.integer(1), wire.integer(2))),
        (collections.OrderedDict(a=1), wire.map_of((wire.binary(b"a"), wire.integer(1)))),
        (collections.Counter("aa"), wire.map_of((wire.binary(b"a"), wire.integer(2)))),
    ],
    ids=repr,
)
def test_each_type_has_one_wire_form(value: object, encoded: bytes) -> None:
    assert _encode(value) == encoded


def test_a_tuple_of_256_elements_and_more_is_a_large_one() -> None:
    assert _encode((1,) * 255)[:2] == bytes([104, 255])
    assert _encode((1,) * 256)[:5] == bytes([105, 0, 0, 1, 0])


class Matrix:
    """As numpy's arrays: has ndim and tolist."""

    ndim = 2

    def tolist(self) -> list[list[int]]:
        return [[1, 2], [3, 4]]


def test_an_array_of_numpys_kind_is_a_list() -> None:
    assert _encode(Matrix()) == _encode([[1, 2], [3, 4]])
    assert _encode({"m": Matrix()}) == _encode({"m": [[1, 2], [3, 4]]})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1}, "cannot convert 'set' object to an Erlang term"),
        ([0, {"key": {1}}], "cannot convert 'set' object to an Erlang term (at [1]['key'])"),
        ([0, 1, {b"k": (1, 2, object())}], "(at [2][b'k'][2])"),
        ({7: frozenset()}, "(at [7])"),
        ({1.5: object()}, "(at [<float>])"),
        ({(1, object()): 0}, "(at {<tuple>}[1])"),
        (Mode.ON, "'Mode'"),
        (1j, "'complex'"),
        (range(3), "'range'"),
        (collections.deque(), "'collections.deque'"),
        (len, "'builtin_function_or_method'"),
        (Matrix, "'type'"),
        (array.array("i", [1]), "'array.array'"),
        ([{"x" * 100: set()}], "(at [0]['" + "x" * 63 + "...])"),
    ],
    ids=repr,
)
def test_what_is_no_term_is_a_type_error_that_names_type_and_path(value: object, text: str) -> None:
    with pytest.raises(TypeError) as error:
        _encode(value)
    assert text in str(error.value)


@pytest.mark.parametrize(
    "value", ["\ud800", ["a", "\udfff"], {"k": "x\ud800"}, Text("\ud800"), "😀\ud800"]
)
def test_a_lone_surrogate_is_a_value_error(value: object) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        _encode(value)


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, b"a": 2},
        {None: 1, erlang.atom("none"): 2},
        {True: 1, erlang.atom("true"): 2},
        {erlang.atom("false"): 1, False: 2},
        {("x", 1): 1, (b"x", 1): 2},
        {math.nan: 1, float("nan"): 2},
        {math.inf: 1, erlang.atom("infinity"): 2},
        {memoryview(b"a"): 1, "a": 2},
        {("a",): {"x": 1, b"y": 2}, (b"a",): 3},
    ],
    ids=repr,
)
def test_keys_that_become_one_term_are_a_value_error(value: dict[object, object]) -> None:
    with pytest.raises(ValueError, match="same Erlang term"):
        _encode(value)
    with pytest.raises(ValueError, match=r"same Erlang term.*\(at \[0\]\['k'\]\)"):
        _encode([{"k": value}])


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": 2, b"c": 3},
        {1: 1, "1": 2, 1.5: 3, None: 4, (1,): 5, erlang.atom("1"): 6},
        {"a": {b"a": 1}, b"b": {"a": 1}},
        {(("a", "b"), "c"): 1, ("a", ("b", "c")): 2},
        {0: "a", 2**70: "b"},
    ],
    ids=repr,
)
def test_keys_of_mixed_types_that_differ_are_fine(value: dict[object, object]) -> None:
    assert _encode(value)[:5] == b"\x74" + struct.pack(">I", len(value))


def test_a_key_that_holds_a_dict_is_refused() -> None:
    class Hashable(dict):  # type: ignore[type-arg]
        def __hash__(self) -> int:  # type: ignore[override]
            return 1

    with pytest.raises(TypeError, match="Hashable"):
        _encode({Hashable(a=1): 1})


def nested_list(levels: int) -> list[object]:
    value: list[object] = [1]
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("nest", [lambda x: [x], lambda x: (x,), lambda x: {"k": x}])
def test_nesting_is_limited_to_10000_levels(nest: object) -> None:
    value: object = 1
    for _ in range(wire.MAX_DEPTH):
        value = nest(value)  # type: ignore[operator]
    assert len(_encode(value)) > wire.MAX_DEPTH
    with pytest.raises(ValueError, match="nesting deeper than 10000"):
        _encode(nest(value))  # type: ignore[operator]


def test_a_million_levels_and_a_cycle_are_errors_and_no_crash() -> None:
    with pytest.raises(ValueError, match="nesting deeper than 10000"):
        _encode(nested_list(1_000_000))
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="nesting deeper than 10000"):
        _encode(cycle)


def test_the_tag_of_a_reply_is_an_atom() -> None:
    assert _encode_reply(("result", "x", ("y",))) == wire.tuple_of(
        wire.atom("result"),
        wire.binary(b"x"),
        wire.tuple_of(wire.binary(b"y")),
    )
    assert _encode_reply(("true",)) == wire.tuple_of(wire.TRUE)


@pytest.mark.parametrize(
    "term", ["x", ["x", 1], (b"x", 1), (1, "x"), (), ((), "x"), {"x": 1}, None]
)
def test_a_reply_of_another_shape_is_converted_as_always(term: object) -> None:
    assert _encode_reply(term) == _encode(term)


def test_a_reply_whose_tag_is_no_atom_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="255"):
        _encode_reply(("x" * 256, 1))
    with pytest.raises(ValueError):
        _encode_reply(("\ud800", 1))


def test_a_released_memoryview_is_a_value_error() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="released"):
        _encode([view])


def test_a_channel_is_a_reference_that_keeps_it_alive() -> None:
    channel = erlang.Channel(_native._new_channel())
    carrier = erlang.Channel(_native._new_channel())
    carrier.send(("c", channel, _native._new_channel()))
    channel.send("inside")
    del channel
    tag, one, two = carrier.receive()
    assert type(one).__name__ == type(two).__name__ == "PyCapsule"
    assert erlang.Channel(one).receive() == "inside"
    carrier.send(one)
    assert erlang.Channel(carrier.receive()) == erlang.Channel(one)
    with pytest.raises(TypeError, match="Channel"):
        _encode(erlang.Channel(None))
