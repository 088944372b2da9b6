# SPDX-License-Identifier: Apache-2.0
"""Stream transports of the event loop: reading, writing, and what they hold back."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

import erlang
import pytest
from conftest import Play, timer, until
from transports import MEBI, Filling, Taking, connection, receive_all, tcp_pair

both_families = pytest.mark.parametrize("tcp", [False, True])


# Writing


@both_families
def test_what_there_is_no_room_for_is_sent_later_in_order(play: Play, tcp: bool) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol, tcp=tcp)
        expected = bytearray()
        for i in range(400):
            piece = os.urandom(1 + i * 53 % 30000)
            changing = bytearray(piece)
            transport.write([piece, changing, memoryview(changing)][i % 3])
            if isinstance(asyncio.get_running_loop(), erlang.ErlangEventLoop):
                # What is changed after the call was written as it was. asyncio's own, from 3.12
                # on, keeps a view of it.
                changing[:] = bytes(len(changing))
            expected += piece
        assert transport.get_write_buffer_size() > 0
        transport.close()
        assert transport.is_closing()
        assert await receive_all(mine) == bytes(expected)
        assert await protocol.lost is None
        assert transport.get_write_buffer_size() == 0
        mine.close()

    play(body())


def test_many_small_writes_arrive(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol)
        for i in range(20000):
            transport.write(struct.pack(">I", i))
        transport.close()
        got = await receive_all(mine)
        assert got == b"".join(struct.pack(">I", i) for i in range(20000))
        mine.close()

    play(body())


@both_families
def test_writelines_sends_all_lines_and_minds_the_limit(play_ours: Play, tcp: bool) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol, tcp=tcp)
        transport.writelines([b"a", bytearray(b"b"), memoryview(b"c"), b""])
        assert await asyncio.get_running_loop().sock_recv(mine, 10) == b"abc"
        transport.writelines([])
        transport.writelines(iter([os.urandom(1000)] * 20000))
        assert protocol.calls[-1] == "pause_writing"
        size = 20_000_000
        while size:
            size -= len(await asyncio.get_running_loop().sock_recv(mine, MEBI))
        await until(lambda: protocol.calls[-1] == "resume_writing")
        with pytest.raises(TypeError):
            transport.writelines([b"x", "y"])
        transport.abort()
        assert await receive_all(mine) == b""
        mine.close()

    play_ours(body())


def test_limits_are_asked_and_set(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol)
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(**wrong)
        transport.set_write_buffer_limits(high=64 * MEBI)
        transport.write(bytes(4 * MEBI))
        assert "pause_writing" not in protocol.calls
        # Lowered below what is there.
        transport.set_write_buffer_limits(high=0)
        assert protocol.calls[-1] == "pause_writing"
        transport.abort()
        mine.close()

    play(body())


def test_write_eof_follows_what_was_written(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol)
        transport.write(bytes(3 * MEBI))
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"late")
        assert len(await receive_all(mine)) == 3 * MEBI
        assert not transport.is_closing()
        mine.send(b"still here")
        await until(lambda: protocol.data == b"still here")
        transport.close()
        assert await protocol.lost is None
        mine.close()

    play(body())


@pytest.mark.parametrize("wrong", ["text", None, 7])
def test_only_bytes_are_written(play: Play, wrong: Any) -> None:
    async def body() -> None:
        mine, transport = await connection(Taking())
        with pytest.raises(TypeError):
            transport.write(wrong)
        transport.close()
        mine.close()

    play(body())


# Reading


@both_families
@pytest.mark.parametrize("size", [1, 1000, 7 * MEBI])
def test_a_buffered_protocol_is_filled(play: Play, tcp: bool, size: int) -> None:
    async def body() -> None:
        protocol = Filling(50_000)
        mine, _ = await connection(protocol, tcp=tcp)
        data = os.urandom(size)
        await asyncio.get_running_loop().sock_sendall(mine, data)
        mine.close()
        assert await protocol.lost is None
        assert bytes(protocol.data) == data

    play(body())


@both_families
def test_large_pieces_are_delivered_whole_and_in_order(play: Play, tcp: bool) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, _ = await connection(protocol, tcp=tcp)
        data = os.urandom(9 * MEBI + 1)
        await asyncio.get_running_loop().sock_sendall(mine, data)
        mine.close()
        assert await protocol.lost is None
        assert protocol.data == data

    play(body())


@both_families
def test_paused_in_data_received_it_reads_no_more(play: Play, tcp: bool) -> None:
    async def body() -> None:
        def pause(protocol: Taking, _data: bytes) -> None:
            protocol.transport.pause_reading()

        protocol = Taking(data_received=pause)
        mine, transport = await connection(protocol, tcp=tcp)
        data = os.urandom(2 * MEBI)
        sent = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(mine, data))
        while len(protocol.data) < len(data):
            count = len(protocol.pieces)
            await until(lambda: not transport.is_reading())
            for _ in range(5):
                await asyncio.sleep(0)  # sleep: iterations of the loop
            assert len(protocol.pieces) <= count + 1
            transport.resume_reading()
            transport.resume_reading()  # Twice is no more than once.
            await until(lambda: len(protocol.pieces) > count)
        await sent
        assert protocol.data == data
        transport.close()
        mine.close()

    play(body())


def test_what_came_and_ended_while_paused_is_read_afterwards(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol, tcp=True)
        transport.pause_reading()
        mine.send(b"the last words")
        mine.close()
        await timer(0.02)
        assert protocol.calls == ["connection_made"]
        transport.resume_reading()
        assert await protocol.lost is None
        assert protocol.calls[1:] == ["data_received", "eof_received", "connection_lost"]

    play(body())


def test_the_protocol_may_change_in_data_received(play: Play) -> None:
    async def body() -> None:
        second = Taking()

        def change(protocol: Taking, _data: bytes) -> None:
            protocol.transport.set_protocol(second)
            assert protocol.transport.get_protocol() is second

        first = Taking(data_received=change)
        mine, transport = await connection(first)
        mine.send(b"one")
        await until(lambda: bool(first.pieces))
        mine.send(b"two")
        await until(lambda: bool(second.pieces))
        filling = Filling(10)
        transport.set_protocol(filling)
        mine.send(b"three, four and five")
        mine.close()
        assert await filling.lost is None
        assert (first.data, second.data, bytes(filling.data)) == (
            b"one", b"two", b"three, four and five")

    play(body())


def test_after_a_half_close_that_it_keeps_open_a_protocol_answers(play: Play) -> None:
    async def body() -> None:
        protocol = Taking(eof_received=lambda _protocol: True)
        mine, transport = await connection(protocol, tcp=True)
        mine.send(b"question")
        mine.shutdown(socket.SHUT_WR)
        await until(lambda: "eof_received" in protocol.calls)
        transport.write(b"answer" * 100_000)
        transport.close()
        assert await receive_all(mine) == b"answer" * 100_000
        mine.close()
        assert protocol.calls.count("eof_received") == 1

    play(body())


def test_what_follows_a_descriptor_that_was_passed_along_is_read(play: Play) -> None:
    async def body() -> None:
        protocol = Taking()
        mine, transport = await connection(protocol)
        for _ in range(3):
            socket.send_fds(mine, [b"with one,"], [mine.fileno()])
            mine.send(b"without,")
        await until(lambda: protocol.data == b"with one,without," * 3)
        transport.close()
        mine.close()

    play(body())


# Streams




def test_a_stream_reader_pauses_beyond_twice_its_limit_and_goes_on(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        mine, its = tcp_pair()
        mine.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=its, limit=1000)
        data = os.urandom(5 * MEBI)
        sending = asyncio.ensure_future(loop.sock_sendall(mine, data))
        await until(lambda: not writer.transport.is_reading())
        assert await reader.readexactly(len(data)) == data
        await sending
        mine.send(b"line\n")
        assert await reader.readline() == b"line\n"
        mine.close()
        assert await reader.read() == b""
        writer.close()

    play(body())


def test_a_stream_reader_with_a_view_of_its_buffer_fails_as_with_asyncio(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        problems: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: problems.append(context))
        mine, its = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=its)
        mine.send(b"first")
        await until(lambda: bool(reader._buffer))
        with memoryview(reader._buffer):
            mine.send(b"second" * 1000)
            await until(lambda: bool(problems))
        assert isinstance(problems[0]["exception"], BufferError)
        with pytest.raises(BufferError):
            await reader.readexactly(100)
        mine.close()
        writer.close()

    play(body())
