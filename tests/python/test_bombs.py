# SPDX-License-Identifier: Apache-2.0
"""Terms of other processes that are meant to do harm: refused, or read in memory that their length
bounds. The time is core's to bound (tests/core/bombs_test.cpp); here what Python adds to it."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
import wire
from erlang._native import _decode, _encode

MANY = 100_000
PRIME = 2**61 - 1  # Of which all multiples have the hash 0.


def head(tag: int, count: int) -> bytes:
    return bytes([tag]) + struct.pack(">I", count)


def big(number: int) -> bytes:
    data = number.to_bytes((number.bit_length() + 7) // 8, "little")
    return b"\x6e" + bytes([len(data), 0]) + data


def claims() -> Iterator[bytes]:
    for claim in (3, 2**31 - 1, 2**31, 2**32 - 1):
        for tag in (0x6C, 0x69, 0x74, 0x6D, 0x06, 0x07, 0x6F):
            yield head(tag, claim) + wire.NIL
        yield b"\x08\x01" + struct.pack(">I", claim) + b"\x83Z"
        yield (head(0x6C, 1) + head(0x69, claim)) * 1000


def strangers() -> Iterator[bytes]:
    for tag in (68, 80, 82, 77, 88, 89, 90, 99, 100, 101, 102, 103, 107, 112, 113, 114, 115, 117,
                120, 131, 0, 255):
        yield bytes([tag]) + b"\1" * 64
    for kind in range(6):
        yield wire.token(kind, 0x41)
        yield wire.handle(kind, 0x41)
        yield wire.pinned(kind, 0x41)
    yield wire.atom_word(0x41)
    for kind in range(5):
        yield wire.opaque(kind, b"\x83P\0\0\0\xff")
        yield wire.opaque(kind, b"\x83a\1")
    for bits in (0x7FF8 << 48, 0x7FF0 << 48, 0xFFF0 << 48):
        yield b"\x46" + struct.pack(">Q", bits)
    yield b"\x63" + b"1.5e0".ljust(31, b"\0")  # A float as text.
    yield head(0x6C, 1) + b"a\1a\1"  # An improper list.
    yield b"\x77\x02\xff\xfe"
    yield wire.NIL * 2
    yield (b"\x68\x01" * 10_001) + wire.NIL
    yield (head(0x6C, 1) * MANY) + wire.NIL * (MANY + 1)


@pytest.mark.parametrize("bomb", [*claims(), *strangers()], ids=lambda bomb: bomb[:12].hex())
def test_a_bomb_is_refused(bomb: bytes) -> None:
    for term in (bomb, head(0x6C, 1) + bomb + wire.NIL, wire.map_of((wire.integer(1), bomb))):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError):
                _decode(term)
            assert tracemalloc.get_traced_memory()[1] <= 96 * len(term) + 16_384
        finally:
            tracemalloc.stop()


FLOODS = {
    "empty lists": head(0x6C, MANY) + wire.NIL * MANY + wire.NIL,
    "empty tuples": head(0x6C, MANY) + b"\x68\x00" * MANY + wire.NIL,
    "empty maps": head(0x6C, MANY) + wire.map_of() * MANY + wire.NIL,
    "empty binaries": head(0x6C, MANY) + wire.binary(b"") * MANY + wire.NIL,
    "tuples in tuples": b"\x68\x01" * 9_999 + wire.NIL,
    "lists in lists": head(0x6C, 1) * 9_999 + wire.NIL * 10_000,
    "one key": head(0x74, 1000) + (wire.integer(1) + wire.NIL) * 1000,
    "many atoms": head(0x6C, MANY) + b"".join(wire.atom(f"a{i}") for i in range(MANY)) + wire.NIL,
    "a large integer": b"\x6f" + struct.pack(">I", 2 * MANY) + b"\0" + b"\xff" * 2 * MANY,
    "leading zeros": b"\x6f" + struct.pack(">I", 2 * MANY) + b"\1" + b"\0" * 2 * MANY,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_takes_as_much_memory_as_its_length_allows(name: str) -> None:
    term = FLOODS[name]
    tracemalloc.start()
    try:
        _decode(term)
        assert tracemalloc.get_traced_memory()[1] <= 96 * len(term) + 16_384
    finally:
        tracemalloc.stop()


def map_of_keys(keys: list[bytes]) -> bytes:
    return head(0x74, len(keys)) + b"".join(key + wire.NIL for key in keys)


def groups_of(size: int) -> list[bytes]:
    keys = [big(PRIME * (i + 10) + j) for i in range(size) for j in range(MANY // size)]
    random.Random(1).shuffle(keys)
    return keys


@pytest.mark.parametrize("keys", [
    pytest.param([big(PRIME * (i + 10)) for i in range(MANY)], id="one hash"),
    pytest.param([wire.integer(1)] * MANY, id="one key"),
    pytest.param([wire.tuple_of(big(PRIME * (i + 10))) for i in range(MANY)], id="tuples"),
    pytest.param(groups_of(1000), id="hundred hashes"),
    pytest.param(groups_of(250), id="some hundred hashes"),
])
def test_keys_that_were_made_to_collide_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="keys of a map have the same hash"):
        _decode(map_of_keys(keys))


@pytest.mark.parametrize("keys", [
    range(MANY), range(-MANY, 0), range(0, MANY << 20, 1 << 20), [1 << i for i in range(5000)],
    [i / 8 for i in range(MANY)], [(i, -i) for i in range(MANY)], [2**70 + i for i in range(MANY)],
], ids=["ints", "negative", "strides", "powers", "floats", "tuples", "large"])
def test_large_maps_of_other_keys_are_read(keys: list[object]) -> None:
    value = dict.fromkeys(keys, 1)
    assert _decode(_encode(value)) == value


def test_many_maps_with_the_same_keys_are_read() -> None:
    values = [dict.fromkeys(range(2000), i) for i in range(100)]
    assert _decode(_encode(values)) == values
