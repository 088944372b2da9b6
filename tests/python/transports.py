# SPDX-License-Identifier: Apache-2.0
"""Protocols that remember what they are told, and connections between them and plain sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

MEBI = 1 << 20


class Taking(asyncio.Protocol):
    """Collects what it is told, and does something more where a test says so."""

    def __init__(self, **hooks: Any) -> None:
        self.hooks = hooks
        self.calls: list[str] = []
        self.pieces: list[bytes] = []
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def _tell(self, call: str, *args: Any) -> Any:
        self.calls.append(call)
        hook = self.hooks.get(call)
        return hook(self, *args) if hook else None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._tell("connection_made")

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self._tell("data_received", data)

    def eof_received(self) -> bool | None:
        answer: bool | None = self._tell("eof_received")
        return answer

    def pause_writing(self) -> None:
        self._tell("pause_writing")

    def resume_writing(self) -> None:
        self._tell("resume_writing")

    def connection_lost(self, error: Exception | None) -> None:
        self._tell("connection_lost", error)
        self.lost.set_result(error)

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


class Filling(asyncio.BufferedProtocol):
    """Has its buffer filled, `size` bytes at a time."""

    def __init__(self, size: int) -> None:
        self.buffer = bytearray(size)
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        assert sizehint == -1
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mine = socket.create_connection(listener.getsockname())
        its, _ = listener.accept()
    return mine, its


async def connection(protocol: Any, *, tcp: bool = False) -> tuple[socket.socket, Any]:
    """This side's plain socket, which does not block, and the other side's transport."""
    mine, its = tcp_pair() if tcp else socket.socketpair()
    mine.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=its)
    return mine, transport


async def receive_all(mine: socket.socket) -> bytes:
    got = bytearray()
    while data := await asyncio.get_running_loop().sock_recv(mine, MEBI):
        got += data
    return bytes(got)
