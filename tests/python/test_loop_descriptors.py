# SPDX-License-Identifier: Apache-2.0
"""add_reader and add_writer: when they call, whom they no longer call, and very many of them."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from conftest import Play, timer, until

MANY = 6000  # More than a ring has room for completions.


def pair() -> tuple[socket.socket, socket.socket]:
    both = socket.socketpair()
    for one in both:
        one.setblocking(False)
    return both


@contextmanager
def sleeping(seconds: float) -> Iterator[None]:
    """What is inside takes hardly any time of the processor."""
    before = resource.getrusage(resource.RUSAGE_THREAD)
    yield
    after = resource.getrusage(resource.RUSAGE_THREAD)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < seconds / 2, "the loop spins"


def test_a_reader_is_called_as_long_as_there_is_something_to_read(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        got = bytearray()

        def one_byte() -> None:
            got.extend(left.recv(1))

        loop.add_reader(left, one_byte)
        right.send(b"abcdef")
        await until(lambda: got == b"abcdef")
        with sleeping(0.1):
            await timer(0.1)
        right.send(b"g")
        await until(lambda: got == b"abcdefg")
        assert loop.remove_reader(left) and not loop.remove_reader(left)
        right.send(b"h")
        await timer(0.02)
        assert got == b"abcdefg"
        left.close()
        right.close()

    play(body())


def test_reader_and_writer_of_one_descriptor_come_and_go_alone(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        seen: set[str] = set()
        loop.add_reader(left, seen.add, "read")
        loop.add_writer(left, seen.add, "write")
        await until(lambda: seen == {"write"})
        right.send(b"x")
        await until(lambda: seen == {"read", "write"})
        loop.remove_writer(left)
        await timer(0.005)
        seen.clear()
        await until(lambda: seen == {"read"})
        loop.remove_reader(left)
        loop.add_writer(left, seen.add, "again")
        seen.clear()
        await until(lambda: seen == {"again"})
        loop.remove_writer(left)
        left.close()
        right.close()

    play(body())


def test_the_last_callback_set_is_the_one_that_is_called(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        seen: list[str] = []
        right.send(b"x")
        loop.add_reader(left, seen.append, "first")
        loop.add_reader(left, seen.append, "second")
        await until(lambda: bool(seen))
        assert set(seen) == {"second"}
        loop.remove_reader(left)
        left.close()
        right.close()

    play(body())


def test_who_is_removed_by_another_in_the_same_iteration_is_not_called(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        pairs = [pair() for _ in range(50)]
        called: list[int] = []

        def first(number: int) -> None:
            called.append(number)
            for left, _ in pairs:
                loop.remove_reader(left)

        for number, (left, right) in enumerate(pairs):
            right.send(b"x")
            loop.add_reader(left, first, number)
        await until(lambda: bool(called))
        await timer(0.01)
        assert len(called) == 1
        for left, right in pairs:
            left.close()
            right.close()

    play(body())


def test_more_events_at_once_than_a_ring_holds(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(MANY)]
        seen = dict.fromkeys(fds, 0)

        def ring(fd: int) -> None:
            seen[fd] += os.eventfd_read(fd)

        for fd in fds:
            loop.add_reader(fd, ring, fd)
        for turn in range(1, 4):
            await timer(0.001)
            for fd in fds:
                os.eventfd_write(fd, 1)
            await until(lambda: all(count == turn for count in seen.values()))
        with sleeping(0.1):
            await timer(0.1)
        for fd in fds:
            assert loop.remove_reader(fd)
            os.close(fd)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard > MANY + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 1000), hard))
    try:
        play(body())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_watched_and_forgotten_without_a_wait_in_between(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        for _ in range(20_000):
            loop.add_reader(left, lambda: None)
            loop.remove_reader(left)
        seen: list[str] = []
        loop.add_reader(left, lambda: seen.append(left.recv(10).decode()))
        right.send(b"x")
        await until(lambda: seen == ["x"])
        loop.remove_reader(left)
        left.close()
        right.close()

    play(body())


def test_descriptors_that_come_and_go_quickly_are_not_mistaken(play: Play) -> None:
    """The same few numbers again and again, each armed when it is closed."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        for turn in range(2000):
            left, right = pair()
            got = loop.create_future()
            loop.add_reader(left, lambda left=left, got=got: got.set_result(left.recv(100)))
            message = str(turn).encode()
            right.send(message)
            assert await got == message
            loop.remove_reader(left)
            left.close()
            right.close()

    play(body())


def test_the_peers_end_wakes_readers_and_writers(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        seen: set[str] = set()
        while True:
            try:
                left.send(b"x" * 65536)
            except BlockingIOError:
                break
        loop.add_reader(left, seen.add, "read")
        loop.add_writer(left, seen.add, "write")
        await timer(0.005)
        assert not seen
        right.close()
        await until(lambda: seen == {"read", "write"})
        loop.remove_reader(left)
        loop.remove_writer(left)
        with sleeping(0.1):
            await timer(0.1)
        left.close()

    play(body())


def test_nobody_spins_while_a_paused_connection_is_reset(play: Play) -> None:
    """Kernels report a hang-up to whoever watches a descriptor, also who asks for nothing."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            connecting = asyncio.open_connection(*listener.getsockname())
            (peer, _), (reader, writer) = await asyncio.gather(loop.sock_accept(listener),
                                                               connecting)
            writer.transport.pause_reading()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            with sleeping(0.2):
                await timer(0.2)
            writer.transport.resume_reading()
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
            writer.transport.abort()

    play(body())


def test_pipes_and_terminals(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for make in (os.pipe, os.openpty):
            reading, writing = make()
            reader = asyncio.StreamReader()
            read_transport, _ = await loop.connect_read_pipe(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader),
                os.fdopen(reading, "rb", 0))
            write_transport, _ = await loop.connect_write_pipe(asyncio.Protocol,
                                                               os.fdopen(writing, "wb", 0))
            write_transport.write(b"a line\n")
            assert (await reader.readline()).strip() == b"a line"
            write_transport.close()
            read_transport.close()

    play(body())
