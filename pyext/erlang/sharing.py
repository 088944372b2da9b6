# SPDX-License-Identifier: Apache-2.0
"""Channels between processes of one machine, without Erlang."""

from __future__ import annotations

import atexit
import os
import socket
from typing import Literal, TypeAlias, overload

from erlang import _native
from erlang._native import ByteChannel, Channel

__all__ = ["invite", "shared_channel"]

Address: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"


@overload
def shared_channel(
    address: Address | None = None,
    *,
    create: Literal[True],
    max_size: int | None = None,
    content: Literal["terms"] = "terms",
) -> Channel: ...
@overload
def shared_channel(
    address: Address | None = None,
    *,
    create: Literal[True],
    max_size: int | None = None,
    content: Literal["bytes"],
) -> ByteChannel: ...
@overload
def shared_channel(
    address: Address | int | socket.socket,
    *,
    content: Literal["terms"],
    timeout: float | None = 10.0,
) -> Channel: ...
@overload
def shared_channel(
    address: Address | int | socket.socket,
    *,
    content: Literal["bytes"],
    timeout: float | None = 10.0,
) -> ByteChannel: ...
@overload
def shared_channel(
    address: Address | int | socket.socket, *, timeout: float | None = 10.0
) -> Channel | ByteChannel: ...
def shared_channel(
    address: Address | int | socket.socket | None = None,
    *,
    create: bool = False,
    max_size: int | None = None,
    content: Literal["terms", "bytes"] | None = None,
    timeout: float | None = 10.0,
) -> Channel | ByteChannel:
    """Create a channel that processes of this user share, or connect to one.

    address is "@name" (abstract, gone with the process) or the path of a socket; to connect also
    a socket from invite(), or its descriptor, which is taken over. Without an address a new one is
    for those only that are invited. The creator's end, however it comes, is the channel's: it is
    closed, and what is queued can still be received.

    max_size is the size of the largest message in bytes, at most 16 MiB; None is 256 KiB. content
    is "terms" (an erlang.Channel, the default) or "bytes" (an erlang.ByteChannel); to connect, what
    is expected. timeout is how many seconds to wait for the creator's answer; None is for ever.

    Blocks without the GIL. Raises OSError: FileNotFoundError or ConnectionRefusedError, nobody is
    there; PermissionError, it is another user's; TimeoutError; ENOSPC, 62 processes have it, or, to
    create one, there is no memory for it; EFBIG, files of this process may not be so large; EMFILE;
    EADDRINUSE, somebody has created it. RuntimeError inside Erlang.
    """
    if content not in (None, "terms", "bytes"):
        raise ValueError('content is "terms" or "bytes"')
    if create:
        if isinstance(address, (int, socket.socket)):
            raise TypeError("a channel is created at an address, or without one")
        if max_size is not None and max_size <= 0:
            raise ValueError("max_size is a number of bytes, at least 1")
        name = b"" if address is None else _name_of(address)
        made = _native._create_shared(name, max_size or 0, content == "bytes")
    else:
        if max_size is not None:
            raise TypeError("max_size is for create=True")
        made = _native._connect_shared(_place_of(address), timeout)
    reference, is_bytes = made
    if content is not None and (content == "bytes") != is_bytes:
        raise ValueError(f"the channel is one of {'bytes' if is_bytes else 'terms'}")
    return ByteChannel(reference) if is_bytes else Channel(reference)


def invite(channel: Channel | ByteChannel) -> socket.socket:
    """Return a socket by which one other process may connect to a channel created here.

    Hand it to a child (pass_fds of subprocess, an argument of a multiprocessing.Process), which
    calls shared_channel() with it, and close it here. Raises OSError if this process did not create
    the channel.
    """
    return socket.socket(fileno=_native._invite_to_shared(channel))


def _name_of(address: Address) -> bytes:
    name = os.fsencode(address)
    if not name:
        raise ValueError("an address is not empty")
    return name


def _place_of(address: Address | int | socket.socket | None) -> bytes | int:
    if address is None:
        raise TypeError("an address is needed, but with create=True")
    if isinstance(address, socket.socket):
        return address.detach()
    return address if isinstance(address, int) else _name_of(address)


# The interpreter's end need not drop every object.
atexit.register(_native._remove_shared_names)
