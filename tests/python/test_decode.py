# SPDX-License-Identifier: Apache-2.0
"""What wire forms become, and that none of them can do harm."""

from __future__ import annotations

import struct
import sys

import erlang
import pytest
import wire
from erlang._native import _decode, _encode


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (wire.atom("true"), True),
        (wire.atom("false"), False),
        (wire.atom("nil"), None),
        (wire.atom("none"), None),
        (wire.atom("undefined"), None),
        (wire.atom("null"), "null"),
        (wire.atom(""), ""),
        (wire.atom("é"), "é"),
        (wire.atom("日本語"), "日本語"),
        (wire.atom("x" * 255), "x" * 255),
        (wire.atom("é" * 255), "é" * 255),
        (wire.binary(b""), ""),
        (wire.binary(b"data"), "data"),
        (wire.binary(b"a\0b"), "a\0b"),
        (wire.binary("é€😀".encode()), "é€😀"),
        (wire.binary(b"x" * 100 + b"\xff"), b"x" * 100 + b"\xff"),
        (wire.python_bytes(b"data"), b"data"),
        (wire.bytes_tuple(b"data"), b"data"),
        (wire.bytes_tuple(b""), b""),
        (wire.NIL, []),
        (wire.list_of(wire.integer(97), wire.integer(98)), [97, 98]),
        (wire.tuple_of(), ()),
        (
            wire.map_of((wire.atom("a"), wire.integer(1)), (wire.binary(b"b"), wire.NIL)),
            {"a": 1, "b": []},
        ),
        (
            wire.map_of((wire.atom("a"), wire.integer(1)), (wire.binary(b"a"), wire.integer(2))),
            {"a": 2},
        ),
        (b"\x69" + struct.pack(">I", 1) + wire.integer(1), (1,)),
        (b"\x6e\x00\x00", 0),
        (b"\x6e\x09\x01" + b"\0" * 8 + b"\x01", -(2**64)),
        (b"\x6e\x08\x01" + (2**63).to_bytes(8, "little"), -(2**63)),
        (b"\x6f\x00\x00\x00\x01\x00\x07", 7),
    ],
    ids=repr,
)
def test_each_wire_form_has_one_value(encoded: bytes, value: object) -> None:
    decoded = _decode(encoded)
    assert decoded == value
    assert type(decoded) is type(value)


def test_atoms_are_interned() -> None:
    assert _decode(wire.atom("some_atom")) is sys.intern("some_atom")


NOT_UTF8 = [
    b"\x80",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc3",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xe2\x82",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf0\x9f\x98",
    b"\xff",
]


@pytest.mark.parametrize("data", NOT_UTF8)
@pytest.mark.parametrize("padding", [0, 7, 8, 31, 32, 33])
def test_a_binary_that_is_not_utf8_is_bytes(data: bytes, padding: int) -> None:
    for whole in (b"x" * padding + data, data + b"x" * padding, "é".encode() * padding + data):
        with pytest.raises(UnicodeDecodeError):
            whole.decode()
        assert _decode(wire.binary(whole)) == whole


@pytest.mark.parametrize(
    "code", [0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
)
@pytest.mark.parametrize("padding", range(0, 40, 3))
def test_a_binary_of_any_characters_is_the_same_str_again(code: int, padding: int) -> None:
    text = "x" * padding + chr(code) + "y" * padding
    assert _decode(wire.binary(text.encode())) == text
    assert _encode(text) == wire.binary(text.encode())


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x00",
        b"\x83a\x01",
        b"\x6c\x00\x00\x00\x01a\x01a\x02",  # An improper list.
        b"\x6c\x00\x00\x00\x01a\x01",
        b"\x6c\x00\x00\x00\x00a",
        b"\x68\x02a\x01",
        b"\x6d\x00\x00\x00\x05abcd",
        b"\x6d\xff\xff\xff\xffa",
        b"\x69\xff\xff\xff\xffa",
        b"\x6c\xff\xff\xff\xffa",
        b"\x74\xff\xff\xff\xffa",
        b"\x6f\xff\xff\xff\xff\x00a",
        b"\x77\x02\xff\xfe",
        b"\x46" + struct.pack(">d", float("nan")),
        wire.opaque(9, b"\x83X"),
        wire.opaque(wire.PID, b""),
        wire.opaque(wire.PID, b"\x83"),
        wire.opaque(wire.PID, b"\x82X"),
        wire.opaque(wire.REFERENCE, b"\x83X" + bytes(20)),  # A pid.
        wire.opaque(wire.PORT, b"\x83P" + bytes(20)),  # Compressed.
        wire.opaque(wire.FUN, b"\x83a\x01"),
        wire.integer(1) + wire.integer(1),
        wire.token(0, 7),
        wire.token(0, 7) + wire.integer(1),  # Went on with what comes behind it.
        wire.tuple_of(wire.token(0, 7), wire.integer(1)) + wire.integer(2),
        wire.atom_word(11),
        wire.handle(0, 0x1000),
        wire.handle(1, 0),
        wire.pinned(0, 0x1000),
        wire.tuple_of(wire.integer(1), wire.handle(0, 0x1000)),
    ],
    ids=repr,
)
def test_a_malformed_message_is_a_value_error(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        _decode(encoded)


@pytest.mark.parametrize("key", [wire.NIL, wire.list_of(wire.integer(1)), wire.map_of()])
def test_a_map_key_that_cannot_be_hashed_is_a_type_error(key: bytes) -> None:
    for encoded in (
        wire.map_of((key, wire.NIL)),
        wire.list_of(wire.map_of((wire.tuple_of(key), wire.NIL))),
    ):
        with pytest.raises(TypeError, match="unhashable"):
            _decode(encoded)


def test_nesting_is_limited_to_10000_levels() -> None:
    def nested(levels: int) -> bytes:
        return b"\x68\x01" * levels + wire.integer(1)

    value = _decode(nested(wire.MAX_DEPTH))
    for _ in range(wire.MAX_DEPTH):
        (value,) = value
    assert value == 1
    for levels in (wire.MAX_DEPTH + 1, 1_000_000):
        with pytest.raises(ValueError, match="nesting deeper than 10000"):
            _decode(nested(levels))
    with pytest.raises(ValueError, match="nesting deeper than 10000"):
        _decode(b"\x6c\x00\x00\x00\x01" * 1_000_000 + wire.integer(1))


OPAQUE = [
    (wire.pid_word(0x2A3), erlang.Pid),
    (wire.opaque(wire.PID, b"\x83X" + bytes(20)), erlang.Pid),
    (wire.opaque(wire.REFERENCE, b"\x83Z" + bytes(30)), erlang.Ref),
    (wire.opaque(wire.PORT, b"\x83x" + bytes(9)), erlang.Port),
    (wire.opaque(wire.FUN, b"\x83p" + bytes(100)), erlang.Fun),
]


@pytest.mark.parametrize(("encoded", "kind"), OPAQUE)
def test_opaque_terms_compare_hash_and_go_back_unchanged(encoded: bytes, kind: type) -> None:
    one, two = _decode(encoded), _decode(encoded)
    assert type(one) is kind
    assert one == two and not one != two and hash(one) == hash(two)
    assert {one: 1}[two] == 1
    assert one != _decode(encoded[:-1] + b"\x99")
    assert one != "x" and one is not None
    assert _encode([one, {one: two}]) == wire.list_of(encoded, wire.map_of((encoded, encoded)))
    assert repr(one).startswith(f"<erlang.{kind.__name__} ")
    with pytest.raises(TypeError):
        one < two  # type: ignore[operator]  # noqa: B015
    with pytest.raises(TypeError, match="cannot create"):
        kind()
    with pytest.raises((AttributeError, TypeError)):
        one.x = 1


def test_pids_of_two_words_that_share_a_place_in_the_cache_stay_apart() -> None:
    words = [3 | i << 4 for i in range(0, 64 * 8, 64)] * 2
    pids = [_decode(wire.pid_word(word)) for word in words]
    assert [_encode(pid) for pid in pids] == [wire.pid_word(word) for word in words]
    assert len(set(pids)) == 8


def test_an_opaque_term_of_one_kind_never_equals_one_of_another() -> None:
    tags = [b"X", b"Z", b"x", b"p"]
    values = [
        _decode(wire.opaque(kind, b"\x83" + tag + bytes(20))) for kind, tag in enumerate(tags)
    ]
    assert len(set(values)) == 4
