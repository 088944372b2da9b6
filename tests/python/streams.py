# SPDX-License-Identifier: Apache-2.0
"""Buffers and what writes into them."""

from __future__ import annotations

from collections.abc import Callable

from conftest import wait_until
from erlang import PyBuffer, _native


def new_stream(
    *,
    content_length: int = -1,
    max_unread: int = 0,
    limit: int = -1,
    retains: bool = True,
) -> PyBuffer:
    return _native._new_stream(content_length, max_unread, limit, retains)


def write(buffer: PyBuffer, data: bytes, *, by_reference: bool = False) -> str:
    """The status, without waiting for room."""
    return _native._stream_write(buffer, data, by_reference)


def feed(buffer: PyBuffer, data: bytes, piece: int, *, by_reference: bool = False) -> str:
    """In pieces, each of which waits for room without the GIL."""
    return _native._stream_write(buffer, data, by_reference, piece)


def close(buffer: PyBuffer) -> None:
    _native._stream_close(buffer)


def abort(buffer: PyBuffer, *reason: object) -> None:
    _native._stream_abort(buffer, *reason)


def of(*pieces: bytes, closed: bool = True, **options: int | bool) -> PyBuffer:
    """A buffer, of unknown length unless said otherwise, that was written in these pieces."""
    buffer = new_stream(**options)  # type: ignore[arg-type]
    for piece in pieces:
        assert write(buffer, piece) == "ok"
    if closed:
        close(buffer)
    return buffer


def written(buffer: PyBuffer) -> int:
    return _native._stream_info(buffer)["written"]


def pinned(buffer: PyBuffer) -> int:
    return _native._stream_info(buffer)["pinned"]


def readers_waiting(buffer: PyBuffer) -> int:
    return _native._stream_info(buffer)["readers_waiting"]


def writers_waiting(buffer: PyBuffer) -> int:
    return _native._stream_info(buffer)["writers_waiting"]


def wait_for_reader(buffer: PyBuffer, count: int = 1) -> None:
    wait_until(lambda: readers_waiting(buffer) == count)


ENDS: dict[str, Callable[[PyBuffer], None]] = {
    "truncated": close,
    "aborted": lambda buffer: abort(buffer, ("reset", 104)),
}
