# SPDX-License-Identifier: Apache-2.0
"""sock_recv and the like."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest
from conftest import Play, until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = socket.socketpair()
    for each in pair:
        each.setblocking(False)
    yield pair
    for each in pair:
        each.close()


def test_of_two_that_receive_each_gets_its_own(play_ours: Play, pair: Pair) -> None:
    """asyncio's loop forgets the first."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        both = [asyncio.create_task(loop.sock_recv(pair[0], 1)) for _ in range(2)]
        await asyncio.sleep(0)
        await loop.sock_sendall(pair[1], b"ab")
        assert await asyncio.gather(*both) == [b"a", b"b"]

    play_ours(body())


def test_both_directions_of_a_socket_at_once(play: Play, pair: Pair) -> None:
    size = 3_000_000

    async def body() -> None:
        loop = asyncio.get_running_loop()

        async def receive(sock: socket.socket) -> int:
            total = 0
            while total < size:
                total += len(await loop.sock_recv(sock, 1 << 20))
            return total

        found = await asyncio.gather(
            *(loop.sock_sendall(each, bytes(size)) for each in pair),
            *(receive(each) for each in pair),
        )
        assert found == [None, None, size, size]

    play(body())


def test_what_is_asked_for_is_never_exceeded(play: Play, pair: Pair) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for size in (1, 1000, 70_000, 150_000):
            data = os.urandom(size)
            sending = asyncio.create_task(loop.sock_sendall(pair[0], data))
            got = b""
            while len(got) < size:
                piece = await loop.sock_recv(pair[1], min(70_001, size - len(got)))
                assert 0 < len(piece) <= 70_001
                got += piece
            await sending
            assert got == data
        pair[0].close()
        assert await loop.sock_recv(pair[1], 100) == b""
        assert await loop.sock_recv_into(pair[1], bytearray(3)) == 0

    play(body())


def test_into_a_buffer(play: Play, pair: Pair) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        buffer = bytearray(b"......")
        receiving = asyncio.create_task(loop.sock_recv_into(pair[0], memoryview(buffer)[1:4]))
        await asyncio.sleep(0)
        await loop.sock_sendall(pair[1], memoryview(b"abcd"))
        assert await receiving == 3 and buffer == b".abc.."
        del buffer[:]  # Nothing holds it any more.

    play(body())


def test_datagrams_with_addresses(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with (
            socket.socket(type=socket.SOCK_DGRAM) as one,
            socket.socket(type=socket.SOCK_DGRAM) as two,
        ):
            for each in (one, two):
                each.setblocking(False)
                each.bind(("127.0.0.1", 0))
            receiving = asyncio.create_task(loop.sock_recvfrom(one, 100))
            await asyncio.sleep(0)
            assert await loop.sock_sendto(two, b"hello", one.getsockname()) == 5
            assert await receiving == (b"hello", two.getsockname())
            buffer = bytearray(10)
            await loop.sock_sendto(two, b"", one.getsockname())
            await loop.sock_sendto(two, b"12345", one.getsockname())
            found = await loop.sock_recvfrom_into(one, buffer)
            assert found == (0, two.getsockname())
            assert (await loop.sock_recvfrom_into(one, buffer, 3))[0] == 3
            assert buffer[:4] == b"123\0"

    play(body())


def test_accepting(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            server.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.create_task(loop.sock_accept(server))
            await loop.sock_connect(client, server.getsockname())
            connection, address = await accepting
            with connection:
                assert connection.gettimeout() == 0 and address == client.getsockname()

    play(body())


def test_a_socket_with_the_number_of_one_that_was_closed(play_ours: Play) -> None:
    """What was watched for the first must not be taken for the second's."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            one, two = socket.socketpair()
            one.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(one, 10))
            await asyncio.sleep(0)
            two.send(b"first")
            assert await receiving == b"first"
            number = one.fileno()
            one.close()
            three, four = socket.socketpair()
            assert number in (three.fileno(), four.fileno())
            reader, writer = (three, four) if three.fileno() == number else (four, three)
            reader.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(reader, 10))
            await asyncio.sleep(0)
            writer.send(b"second")
            assert await receiving == b"second"
            for each in (two, three, four):
                each.close()

    play_ours(body())


def test_the_peer_sees_the_end_at_once(play: Play, pair: Pair) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for give_up in (True, False):
            one, two = socket.socketpair()
            one.setblocking(False)
            receiving = asyncio.create_task(loop.sock_recv(one, 10))
            await asyncio.sleep(0)
            if give_up:
                receiving.cancel()
            else:
                two.send(b"x")
            await asyncio.wait([receiving])
            one.close()
            two.settimeout(60)
            assert two.recv(10) == b""
            two.close()

    play(body())


def test_readers_and_coroutines_share_a_descriptor(play_ours: Play, pair: Pair) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        told: list[int] = []
        loop.add_writer(pair[0], told.append, 1)
        receiving = asyncio.create_task(loop.sock_recv(pair[0], 10))
        await until(lambda: len(told) > 2)
        pair[1].send(b"x")
        assert await receiving == b"x"
        count = len(told)
        await until(lambda: len(told) > count + 2)
        assert loop.remove_writer(pair[0]) and not loop.remove_writer(pair[0])
        assert loop._watched() == []  # type: ignore[attr-defined]

    play_ours(body())


def test_bad_arguments(play: Play, pair: Pair) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="negative"):
            await loop.sock_recv(pair[0], -1)
        for wrong in (
            lambda: loop.sock_recv(pair[0], "many"),  # type: ignore[arg-type]
            lambda: loop.sock_recv_into(pair[0], b"read-only"),
            lambda: loop.sock_sendall(pair[0], "text"),  # type: ignore[arg-type]
        ):
            with pytest.raises(TypeError):
                await wrong()
        with pytest.raises(TypeError):
            await loop.sock_sendall(pair[0])  # type: ignore[call-arg]
        loop.set_debug(True)
        pair[0].setblocking(True)
        with pytest.raises(ValueError, match="non-blocking"):
            await loop.sock_recv(pair[0], 1)

    play(body())


def test_errors_of_the_socket(play: Play, pair: Pair) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        pair[1].close()
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(pair[0], b"x")
        pair[0].close()
        for closed in (
            lambda: loop.sock_recv(pair[0], 1),
            lambda: loop.sock_sendall(pair[0], b"x"),
            lambda: loop.sock_accept(pair[0]),
        ):
            with pytest.raises(OSError):
                await closed()

    play(body())
