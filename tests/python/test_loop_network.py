# SPDX-License-Identifier: Apache-2.0
"""Sockets on the event loop: both ways of a connection, slow peers, datagrams, many connections."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from conftest import Play, open_fds, timer, until

MEBI = 1 << 20


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def served(handler=echo, *, unix: bool = False) -> AsyncIterator[str | int]:
    """A stream server; gives its port, or the path of its socket."""
    with tempfile.TemporaryDirectory() as folder:
        if unix:
            address: str | int = str(Path(folder) / "socket")
            server = await asyncio.start_unix_server(handler, address)
        else:
            server = await asyncio.start_server(handler, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()[1]
        async with server:
            yield address


async def connected(address: str | int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, str):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection("127.0.0.1", address)


class Recording(asyncio.Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.lost = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes and data
        self.data += data

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return True

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")
        self.lost.set_result(error)


async def pair_with_protocol() -> tuple[socket.socket, Recording]:
    """A connection of which this side is a plain socket that does not block."""
    loop = asyncio.get_running_loop()
    mine, its = socket.socketpair()
    mine.setblocking(False)
    _, protocol = await loop.create_connection(Recording, sock=its)
    return mine, protocol


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("size", [1, 1000, 65536, 3 * MEBI + 7])
def test_what_is_sent_comes_back(play: Play, unix: bool, size: int) -> None:
    async def body() -> None:
        message = os.urandom(size)
        async with served(unix=unix) as address:
            reader, writer = await connected(address)
            writer.write(message)
            assert await reader.readexactly(size) == message
            writer.close()
            await writer.wait_closed()

    play(body())


@pytest.mark.parametrize("unix", [False, True])
def test_one_direction_may_end_before_the_other(play: Play, unix: bool) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader,
                                writer: asyncio.StreamWriter) -> None:
        got = await reader.read()
        writer.write(got[::-1] * 1000)
        await writer.drain()
        writer.write_eof()
        writer.close()

    async def body() -> None:
        async with served(answer_at_the_end, unix=unix) as address:
            reader, writer = await connected(address)
            writer.write(b"abc" * 1000)
            assert writer.can_write_eof()
            writer.write_eof()
            assert await reader.read() == b"cba" * 1_000_000
            writer.close()

    play(body())


def test_the_end_of_the_peer_is_told_once_and_writing_goes_on(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        mine, protocol = await pair_with_protocol()
        await loop.sock_sendall(mine, b"last words")
        mine.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in protocol.calls)
        assert protocol.data == b"last words"
        protocol.transport.write(b"heard")
        assert await loop.sock_recv(mine, 100) == b"heard"
        protocol.transport.close()
        assert await protocol.lost is None
        assert protocol.calls == ["made", "eof", "lost"]
        assert await loop.sock_recv(mine, 100) == b""
        mine.close()

    play(body())


def test_a_slow_reader_pauses_the_writer(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        mine, protocol = await pair_with_protocol()
        transport = protocol.transport
        piece = os.urandom(MEBI)
        transport.write(piece)
        assert protocol.calls == ["made", "pause"]
        low, high = transport.get_write_buffer_limits()
        assert low < high < transport.get_write_buffer_size() < MEBI
        got = bytearray()
        while len(got) < MEBI:
            got += await loop.sock_recv(mine, 50_000)
        assert got == piece
        await until(lambda: "resume" in protocol.calls)
        assert transport.get_write_buffer_size() <= low
        transport.close()
        await protocol.lost
        assert protocol.calls == ["made", "pause", "resume", "lost"]
        mine.close()

    play(body())


def test_a_writer_that_drains_buffers_no_more_than_its_limit(play: Play) -> None:
    async def body() -> None:
        pieces = [os.urandom(100_000) for _ in range(8)]
        most = 0
        sent = hashlib.sha256()

        async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal most
            for number in range(200):
                sent.update(pieces[number % 8])
                writer.write(pieces[number % 8])
                most = max(most, writer.transport.get_write_buffer_size())
                await writer.drain()
            writer.close()

        async with served(pour) as port:
            reader, writer = await connected(port)
            got = hashlib.sha256()
            while data := await reader.read(30_000):
                got.update(data)
                await asyncio.sleep(0)
            assert got.digest() == sent.digest()
            assert most <= 65536 + 100_000
            writer.close()

    play(body())


def test_nothing_is_read_while_reading_is_paused(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        mine, protocol = await pair_with_protocol()
        protocol.transport.pause_reading()
        assert not protocol.transport.is_reading()
        sending = loop.create_task(loop.sock_sendall(mine, b"x" * 4 * MEBI))
        await timer(0.05)
        assert not protocol.data and not sending.done()
        protocol.transport.resume_reading()
        await sending
        await until(lambda: len(protocol.data) == 4 * MEBI)
        protocol.transport.pause_reading()
        protocol.transport.resume_reading()
        await loop.sock_sendall(mine, b"y")
        await until(lambda: protocol.data.endswith(b"y"))
        protocol.transport.abort()
        mine.close()
        await protocol.lost

    play(body())


def test_close_sends_what_is_buffered_and_abort_does_not(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for abort in (False, True):
            mine, protocol = await pair_with_protocol()
            protocol.transport.write(b"x" * 4 * MEBI)
            if abort:
                protocol.transport.abort()
            else:
                protocol.transport.close()
            assert protocol.transport.is_closing()
            total = 0
            while data := await loop.sock_recv(mine, MEBI):
                total += len(data)
            await protocol.lost
            assert (total < 4 * MEBI) if abort else (total == 4 * MEBI)
            mine.close()

    play(body())


def test_writing_too_late_is_no_error(play_ours: Play) -> None:
    """asyncio of 3.11 stumbles over its own transport's missing socket."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict] = []
        loop.set_exception_handler(lambda _, context: told.append(context))
        for size in (0, 4 * MEBI):
            mine, protocol = await pair_with_protocol()
            protocol.transport.write(b"x" * size)
            protocol.transport.close()
            while await loop.sock_recv(mine, MEBI):
                pass
            await protocol.lost
            for _ in range(20):
                protocol.transport.write(b"too late")
            protocol.transport.close()
            protocol.transport.abort()
            mine.close()
        assert not told

    play_ours(body())


def test_a_peer_that_vanishes_ends_the_connection(play: Play) -> None:
    async def body() -> None:
        async with served() as port:
            reader, writer = await connected(port)
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            writer.write(b"x")
            await reader.readexactly(1)
            writer.transport.abort()
            # The server lives on.
            reader, writer = await connected(port)
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
            writer.close()

    play(body())


def test_a_hundred_connections_at_once_are_kept_apart(play: Play) -> None:
    async def body() -> None:
        async def one(number: int) -> None:
            reader, writer = await connected(port)
            message = number.to_bytes(4, "big") * 2000
            for _ in range(5):
                writer.write(message)
                assert await reader.readexactly(len(message)) == message
            writer.close()
            await writer.wait_closed()

        async with served() as port:
            await asyncio.gather(*(one(number) for number in range(100)))

    play(body())


def test_ten_thousand_connections_come_and_go(play_ours: Play) -> None:
    async def body() -> None:
        async def some(count: int) -> None:
            for _ in range(count):
                reader, writer = await connected(path)
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                writer.close()
                await writer.wait_closed()

        async with served(unix=True) as path:
            await some(10)
            before = open_fds()
            await asyncio.gather(*(some(500) for _ in range(20)))
            await until(lambda: open_fds() <= before)

    play_ours(body())


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[tuple[bytes, object]] = []
        self.errors: list[Exception] = []
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: object) -> None:
        self.got.append((data, address))

    def error_received(self, error: Exception) -> None:
        self.errors.append(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


async def endpoint(**options: object) -> tuple[asyncio.DatagramTransport, Datagrams]:
    return await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, **options)


def test_datagrams_keep_their_bounds_also_empty_ones(play: Play) -> None:
    async def body() -> None:
        transport, protocol = await endpoint(local_addr=("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            messages = [b"", b"a", b"", b"b" * 60_000, b""]
            for message in messages:
                sender.sendto(message, transport.get_extra_info("sockname"))
            await until(lambda: len(protocol.got) == len(messages))
            assert protocol.got == [(message, sender.getsockname()) for message in messages]
        transport.close()
        assert await protocol.lost is None

    play(body())


def test_an_empty_datagram_is_sent(play_ours: Play) -> None:
    """asyncio of 3.11 drops it."""

    async def body() -> None:
        receiver, got = await endpoint(local_addr=("127.0.0.1", 0))
        sender, _ = await endpoint(remote_addr=receiver.get_extra_info("sockname"))
        for message in (b"a", b"", b"b"):
            sender.sendto(message)
        await until(lambda: len(got.got) == 3)
        assert [data for data, _ in got.got] == [b"a", b"", b"b"]
        for transport in (receiver, sender):
            transport.close()

    play_ours(body())


def test_a_datagram_that_nobody_wants_is_an_error_received(play: Play) -> None:
    async def body() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = closed.getsockname()
        transport, protocol = await endpoint(remote_addr=address)
        transport.sendto(b"anybody?")
        await until(lambda: bool(protocol.errors))
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        transport.abort()
        await protocol.lost

    play(body())


def test_unix_datagrams(play: Play) -> None:
    async def body() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "socket")
            transport, protocol = await endpoint(local_addr=path, family=socket.AF_UNIX)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(path)
                sender.send(b"x" * 5000)
                await until(lambda: bool(protocol.got))
            assert protocol.got[0][0] == b"x" * 5000
            transport.close()
            await protocol.lost

    play(body())
