# SPDX-License-Identifier: Apache-2.0
"""Streams of an event loop: asyncio's own, whose reader the loop makes one of ours."""

from asyncio import streams

from erlang import _native

__all__ = ["StreamReader"]


class StreamReader(streams.StreamReader):
    """An asyncio.StreamReader whose read(n) runs no Python code.

    asyncio.start_server() and asyncio.open_connection() make readers of their own; the loop gives
    them this class when it connects them. Everything else is inherited.
    """

    # Nothing of its own: or an instance could not change its class.
    __slots__ = ()
    read = _native._stream_read_method(streams.StreamReader.read)
