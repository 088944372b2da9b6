# SPDX-License-Identifier: Apache-2.0
"""Wire forms by hand (core/include/penstock/wire.hpp), for what Python itself does not encode."""

from __future__ import annotations

import struct

TRUE, FALSE, NONE = b"\x01", b"\x02", b"\x03"
NIL = bytes([106])
MAX_DEPTH = 10_000


def atom(name: str) -> bytes:
    utf8 = name.encode()
    return (
        bytes([119, len(utf8)]) + utf8
        if len(utf8) < 256
        else b"\x76" + struct.pack(">H", len(utf8)) + utf8
    )


def binary(data: bytes) -> bytes:
    return b"\x6d" + struct.pack(">I", len(data)) + data


def python_bytes(data: bytes) -> bytes:
    return b"\x06" + struct.pack(">I", len(data)) + data


def bytes_tuple(data: bytes) -> bytes:
    return b"\x07" + struct.pack(">I", len(data)) + data


def tuple_of(*terms: bytes) -> bytes:
    return bytes([104, len(terms)]) + b"".join(terms)


def list_of(*terms: bytes) -> bytes:
    return b"\x6c" + struct.pack(">I", len(terms)) + b"".join(terms) + NIL if terms else NIL


def map_of(*pairs: tuple[bytes, bytes]) -> bytes:
    return b"\x74" + struct.pack(">I", len(pairs)) + b"".join(k + v for k, v in pairs)


def integer(value: int) -> bytes:
    return bytes([97, value]) if 0 <= value < 256 else b"\x62" + struct.pack(">i", value)


def pid_word(word: int) -> bytes:
    return b"\x05" + struct.pack("=Q", word)


def atom_word(word: int) -> bytes:
    return b"\x04" + struct.pack("=Q", word)


def handle(kind: int, address: int) -> bytes:
    return b"\x09" + bytes([kind]) + struct.pack("=Q", address)


def pinned(kind: int, address: int) -> bytes:
    return b"\x0a" + bytes([kind]) + struct.pack("=Q", address)


def token(kind: int, number: int) -> bytes:
    return b"\x0b" + bytes([kind]) + struct.pack("=Q", number)


PID, REFERENCE, PORT, FUN = range(4)


def opaque(kind: int, external: bytes) -> bytes:
    return b"\x08" + bytes([kind]) + struct.pack(">I", len(external)) + external
