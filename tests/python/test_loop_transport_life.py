# SPDX-License-Identifier: Apache-2.0
"""Stream transports of the event loop: what goes wrong, and what is left in the end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import socket
import struct
import time
import weakref
from typing import Any

import pytest
from conftest import Play, open_fds, timer, until
from transports import MEBI, Filling, Taking, connection, receive_all


# What goes wrong


@pytest.mark.parametrize("call", ["connection_made", "data_received", "eof_received",
                                  "pause_writing", "resume_writing", "connection_lost"])
def test_what_a_protocol_raises_is_reported_once(play: Play, call: str) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: problems.append(context))

        def fail(_protocol: Taking, *_args: Any) -> None:
            raise ZeroDivisionError(call)

        protocol = Taking(**{call: fail})
        mine, transport = await connection(protocol, tcp=True)
        transport.write(bytes(8 * MEBI))
        got = 0
        while got < 8 * MEBI:
            got += len(await loop.sock_recv(mine, MEBI))
        mine.send(b"data")
        mine.shutdown(socket.SHUT_WR)
        await until(lambda: "connection_lost" in protocol.calls)
        await until(lambda: bool(problems))
        assert [str(each["exception"]) for each in problems] == [call]
        assert transport.is_closing()
        mine.close()
        # Only these two end the connection, with the reason.
        if call in ("data_received", "eof_received"):
            error = await protocol.lost
            assert isinstance(error, ZeroDivisionError)

    play(body())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_loop_comes_out_of_it(play: Play, kind: type[BaseException]) -> None:
    def fail(_protocol: Taking, _data: bytes) -> None:
        raise kind

    async def body() -> None:
        mine, _ = await connection(Taking(data_received=fail))
        mine.send(b"x")
        await asyncio.get_running_loop().create_future()

    with pytest.raises(kind):
        play(body())
    gc.collect()


def test_a_reset_is_the_reason_of_the_loss(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, _ = await connection(protocol, tcp=True)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        mine.close()
        assert isinstance(await protocol.lost, ConnectionResetError)

    play(body())


class Ending(Filling):
    """Its peer says the last and closes while the `turn`th buffer is being taken."""

    def __init__(self, size: int, turn: int, seconds: float) -> None:
        super().__init__(size)
        self.turn = turn
        self.seconds = seconds
        self.last = asyncio.get_running_loop().create_future()
        self.mine: Any = None

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.turn -= 1
        if self.turn == 0:
            start = time.monotonic()
            self.mine.send(b"last")
            self.mine.close()
            while time.monotonic() - start < self.seconds:  # What a slow callback takes.
                pass
        elif self.data.endswith(b"last"):
            self.last.set_result(None)


# Both have the loop look at the transport in its next iteration, in which the kernel reports what
# the peer did as well. Then the last data and the end used to come together, and whoever waited for
# the data (or for the handshake of TLS before it) found the connection lost.
@pytest.mark.parametrize(("first", "size", "turn", "seconds"), [
    pytest.param(b"16 bytes in four", 4, 4, 0.0, id="more-than-a-turn"),
    pytest.param(b"a part of it", 64, 1, 0.05, id="slow-callback"),
])
def test_who_waits_for_the_last_data_sees_it_before_the_end(
    play: Play, first: bytes, size: int, turn: int, seconds: float
) -> None:
    async def body() -> None:
        protocol = Ending(size, turn, seconds)
        protocol.mine, transport = await connection(protocol, tcp=True)
        protocol.mine.send(first)
        await protocol.last
        assert protocol.data == first + b"last"
        assert not transport.is_closing()
        assert await protocol.lost is None

    play(body())


def test_abort_throws_away_what_is_queued(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol)
        transport.write(bytes(8 * MEBI))
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        transport.write(b"into the void")
        assert await protocol.lost is None
        assert len(await receive_all(mine)) < 8 * MEBI
        transport.abort()
        transport.close()
        mine.close()

    play(body())


def test_a_descriptor_closed_behind_its_back_is_not_used(play_ours: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, its = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, sock=its)
        number = its.fileno()
        its.close()
        # The number belongs to others now.
        strangers = socket.socketpair()
        while number not in (strangers[0].fileno(), strangers[1].fileno()):
            strangers += socket.socketpair()
        transport.write(b"not for you")
        assert isinstance(await protocol.lost, OSError)
        for each in strangers:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.recv(1)
        for each in strangers:
            each.close()
        mine.close()

    play_ours(body())


# Life


def test_a_context_variable_set_when_a_connection_is_made_is_there_later(play_ours: Play) -> None:
    async def body() -> None:
        variable = contextvars.ContextVar("variable", default="outside")
        seen = []

        def set_it(_protocol: Taking) -> None:
            variable.set("inside")

        def look(_protocol: Taking, *_args: Any) -> None:
            seen.append(variable.get())

        protocol = Taking(connection_made=set_it, data_received=look, connection_lost=look)
        mine, _ = await connection(protocol)
        mine.send(b"x")
        await until(lambda: bool(protocol.pieces))
        mine.close()
        await protocol.lost
        assert seen == ["inside", "inside"]
        assert variable.get() == "outside"

    play_ours(body())


def test_transports_are_those_of_asyncio(play_ours: Play) -> None:
    async def body() -> None:
        mine, transport = await connection(Taking(), tcp=True)
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.transports._FlowControlMixin)
        assert transport.get_extra_info("peername") == mine.getsockname()
        assert transport.get_extra_info("sockname") == mine.getpeername()
        shown = transport.get_extra_info("socket")
        assert shown.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert transport.get_extra_info("nothing", 5) == 5
        assert repr(transport) == (f"<StreamTransport fd={shown.fileno()} read=polling "
                                   "write=<idle, bufsize=0>>")
        transport.mark = "of the user"
        assert transport.mark == "of the user"
        transport.close()
        await timer(0)
        assert repr(transport).startswith("<StreamTransport closed fd=")
        mine.close()

    play_ours(body())


def test_connections_leave_nothing_behind(play: Play) -> None:
    async def body() -> None:
        async def one(i: int) -> weakref.ref[Any]:
            protocol: Any = Filling(100) if i % 3 == 0 else Taking()
            mine, transport = await connection(protocol, tcp=i % 2 == 0)
            mine.send(b"hello")
            transport.write(b"world" * (1 + i % 5 * 100_000))
            if i % 5 == 0:
                transport.abort()
            elif i % 5 == 1:
                transport.pause_reading()
                transport.close()
            mine.close()
            if i % 5 >= 2:
                transport.close()
            await protocol.lost
            return weakref.ref(transport)

        await one(1)
        gc.collect()
        before = open_fds()
        gone = [await one(i) for i in range(100)]
        await timer(0)
        gc.collect()
        assert open_fds() == before
        assert [each for each in gone if each() is not None] == []

    play(body())


def test_a_paused_transport_that_nobody_wants_is_closed_with_a_warning(play_ours: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol)
        transport.pause_reading()
        mine.send(b"unwanted")
        await timer(0.01)
        with pytest.warns(ResourceWarning, match="unclosed transport <StreamTransport"):
            del transport, protocol
            gc.collect()
        assert await receive_all_or_reset(mine) == b""
        mine.close()

    async def receive_all_or_reset(mine: socket.socket) -> bytes:
        try:
            return await receive_all(mine)
        except ConnectionResetError:
            return b""

    play_ours(body())


def test_a_loop_closed_with_open_connections_gives_them_up(play_ours: Play) -> None:
    found: list[Any] = []

    async def body() -> None:
        mine, transport = await connection(Taking())
        found.extend((mine, weakref.ref(transport)))

    with pytest.warns(ResourceWarning, match="unclosed transport"):
        play_ours(body())
        gc.collect()
    mine, transport = found
    assert transport() is None
    assert mine.recv(1) == b""
    mine.close()


def test_a_file_is_sent_between_two_writes(play: Play, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 * MEBI))

    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol, tcp=True)
        receiving = asyncio.ensure_future(receive_all(mine))
        transport.write(b"before" * 100_000)
        with path.open("rb") as file:
            await asyncio.get_running_loop().sendfile(transport, file)
        transport.write(b"after")
        mine.send(b"heard")
        await until(lambda: protocol.data == b"heard")
        transport.close()
        assert await receiving == b"before" * 100_000 + path.read_bytes() + b"after"
        mine.close()

    play(body())
