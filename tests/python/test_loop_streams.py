# SPDX-License-Identifier: Apache-2.0
"""Streams: what a reader of ours does is what asyncio's does, so most run on both loops."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import socket
import warnings
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import erlang
import pytest
from conftest import Play, our_loop, until
from erlang import streams

@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[asyncio.StreamReader, Callable[..., Any]]]:
    """A reader, and what sends to it."""
    mine, its = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=mine, **options)
    its.setblocking(False)
    with its:
        try:
            yield reader, its
        finally:
            writer.close()


async def waiting(coroutine: Any) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def arrived(reader: asyncio.StreamReader, size: int) -> None:
    while len(reader._buffer) < size:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


def test_the_loop_gives_its_readers_another_class() -> None:
    seen = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(type(reader))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(served, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read(1) == b""
        seen.append(type(reader))
        assert isinstance(reader, asyncio.StreamReader)
        assert repr(reader).startswith("<StreamReader eof transport=")
        writer.close()
        server.close()

    erlang.run(main())
    assert seen == [streams.StreamReader] * 2


def test_others_keep_theirs() -> None:
    class Own(asyncio.StreamReader):
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        other = our_loop()
        for reader in (Own(), asyncio.StreamReader(loop=other)):
            before = type(reader)
            mine, its = socket.socketpair()
            transport, _ = await loop.create_connection(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader, loop=loop), sock=mine)
            assert type(reader) is before
            its.close()
            transport.close()
        other.close()
        for name in ("read", "_wait_for_data", "feed_data", "_maybe_resume_transport"):
            with mock.patch.object(asyncio.StreamReader, name, lambda *_: None):
                async with pair() as (reader, _):
                    assert type(reader) is asyncio.StreamReader

    erlang.run(main())


@pytest.mark.parametrize("arguments", [(3,), (1,), (100,), (0,), (2**70,), (True,)])
def test_what_is_there(play: Play, arguments: tuple[Any, ...]) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            its.send(b"abcdef")
            await arrived(reader, 6)
            expected = b"abcdef"[:arguments[0]]
            assert await reader.read(*arguments) == expected
            its.send(b"ghi")
            its.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"abcdefghi"[len(expected):]
            assert await reader.read(5) == b""

    play(main())


@pytest.mark.parametrize(("arguments", "keywords"),
                         [(("x",), {}), ((1.5,), {}), ((1, 2), {}), ((), {"m": 1}), ((None,), {})])
def test_wrong_arguments(play: Play, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            its.send(b"abc")
            with pytest.raises(TypeError):
                await reader.read(*arguments, **keywords)
            assert await reader.read(n=2) == b"ab"

    play(main())


def test_waiting(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            task = await waiting(reader.read(3))
            its.send(b"abcdef")
            assert await task == b"abc"
            task = await waiting(reader.read(3))
            assert await task == b"def"
            task = await waiting(reader.read(3))
            its.close()
            assert await task == b""

    play(main())


def test_mixed_with_the_other_methods(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            its.send(b"one\ntwo;three")
            assert await reader.read(2) == b"on"
            assert await reader.readline() == b"e\n"
            assert await reader.readuntil(b";") == b"two;"
            assert await reader.read(2) == b"th"
            assert await reader.readexactly(3) == b"ree"
            task = await waiting(reader.read(4))
            reader.feed_data(b"by hand")
            assert await task == b"by h"
            reader.feed_eof()
            assert [await reader.read(2), await reader.read(2), await reader.read(2)] == [
                b"an", b"d", b""]

    play(main())


@pytest.mark.parametrize("second", ["read", "readline"])
def test_only_one_may_wait(play: Play, second: str) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            task = await waiting(reader.read(3))
            with pytest.raises(RuntimeError, match="while another coroutine is already waiting"):
                await (reader.read(3) if second == "read" else reader.readline())
            its.send(b"abc")
            assert await task == b"abc"
            other = await waiting(reader.readline())
            with pytest.raises(RuntimeError, match="while another coroutine is already waiting"):
                await reader.read(3)
            its.send(b"x\n")
            assert await other == b"x\n"

    play(main())


def test_who_is_cancelled_takes_nothing(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            task = await waiting(reader.read(3))
            its.send(b"abc")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await arrived(reader, 3)
            assert await reader.read(9) == b"abc"
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(3), 0.001)
            # Woken and cancelled in the same iteration.
            task = await waiting(reader.read(3))
            reader.feed_data(b"def")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await reader.read(9) == b"def"

    play(main())


def test_an_exception_of_the_reader(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            task = await waiting(reader.read(3))
            reader.set_exception(OSError(5, "told"))
            with pytest.raises(OSError, match="told"):
                await task
            its.send(b"abc")
            with pytest.raises(OSError, match="told"):
                await reader.read(3)
            reader.set_exception(KeyError)  # type: ignore[arg-type]
            with pytest.raises(KeyError):
                await reader.read(3)

    play(main())


def test_a_lost_connection_is_an_exception(play: Play) -> None:
    async def main() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        reader, writer = await asyncio.open_connection(*server.getsockname())
        its, _ = server.accept()
        task = await waiting(reader.read(3))
        its.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        its.close()
        with pytest.raises(ConnectionResetError):
            await task
        writer.close()
        server.close()

    play(main())


def test_a_slow_reader_holds_up_the_writer(play: Play) -> None:
    """Reading pauses at twice the limit, and goes on when there is room."""

    async def main() -> None:
        async with pair(limit=1000) as (reader, its):
            loop = asyncio.get_running_loop()
            sent = bytes(range(256)) * 4000
            sending = await waiting(loop.sock_sendall(its, sent))
            while not reader._paused:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            got = bytearray()
            while len(got) < len(sent):
                piece = await reader.read(700)
                assert 0 < len(piece) <= 700
                got += piece
            assert got == sent
            await sending
            # Who waits while reading is paused would wait for ever.
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            reader._paused = True  # type: ignore[attr-defined]
            task = await waiting(reader.read(3))
            its.send(b"abc")
            assert await task == b"abc"

    play(main())


def test_driven_by_hand() -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                reader.read(5)  # Not a generator: nothing has begun, and nobody is warned.
            read: Any = reader.read(5)
            assert asyncio.iscoroutine(read)
            assert (read.__name__, read.__qualname__) == ("StreamReader.read",) * 2
            waiter = read.send(None)
            with pytest.raises(RuntimeError, match="being awaited already"):
                read.send(None)
            assert reader._waiter is waiter  # type: ignore[attr-defined]
            waiter.set_exception(KeyError("told"))
            with pytest.raises(KeyError, match="told"):
                read.send(None)
            assert reader._waiter is None  # type: ignore[attr-defined]
            with pytest.raises(RuntimeError, match="cannot reuse an awaited read"):
                read.send(None)
            with pytest.raises(RuntimeError, match="cannot reuse an awaited read"):
                read.throw(KeyError())
            closed: Any = reader.read(5)
            closed.send(None)
            closed.close()
            assert reader._waiter is None  # type: ignore[attr-defined]
            thrown: Any = reader.read(5)
            thrown.send(None)
            with pytest.raises(KeyError):
                thrown.throw(KeyError())
            assert reader._waiter is None  # type: ignore[attr-defined]
            dropped: Any = reader.read(5)
            dropped.send(None)
            del dropped
            gc.collect()
            assert reader._waiter is None  # type: ignore[attr-defined]
            its.send(b"abc")
            assert await reader.read(5) == b"abc"

    erlang.run(main())


def test_two_that_await_the_same(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            read = reader.read(5)

            async def awaiting() -> bytes:
                return await read

            first = await waiting(awaiting())
            with pytest.raises(RuntimeError, match="being awaited already"):
                await awaiting()
            its.send(b"abc")
            assert await first == b"abc"

    play(main())


def test_a_task_that_is_done_keeps_no_reader(play_ours: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            its.send(b"abc")
            done = await waiting(reader.read(5))
            await done
            cancelled = await waiting(reader.read(5))
            cancelled.cancel()
            await asyncio.wait([cancelled])
            gone = weakref.ref(reader)
        del reader
        await until(lambda: gc.collect() >= 0 and gone() is None)

    play_ours(main())


def test_a_stop_iteration_is_no_result(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, _):
            reader.set_exception(StopIteration(5))
            with pytest.raises(RuntimeError, match="coroutine raised StopIteration"):
                await asyncio.create_task(reader.read(5))
            reader._exception = 7  # type: ignore[attr-defined]
            with pytest.raises(TypeError, match="exceptions must derive"):
                await reader.read(5)

    play(main())


def test_who_looks_at_the_method_sees_asyncios(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            assert inspect.iscoroutinefunction(reader.read)
            assert asyncio.iscoroutinefunction(type(reader).read)
            assert inspect.signature(reader.read) == inspect.signature(
                asyncio.StreamReader.read.__get__(reader))
            assert reader.read.__doc__ == asyncio.StreamReader.read.__doc__
            assert isinstance(mock.create_autospec(reader).read, mock.AsyncMock)
            its.send(b"abcdef")
            read = reader.read
            assert [await read(2), await functools.partial(read, 2)()] == [b"ab", b"cd"]
            assert await type(reader).read(reader, 2) == b"ef"

    play(main())


def test_what_is_patched_later(play: Play) -> None:
    async def fake(*_: object) -> bytes:
        return b"fake"

    async def main() -> None:
        async with pair() as (reader, its):
            with mock.patch.object(asyncio.StreamReader, "read", fake):
                assert await reader.read(5) == b"fake"
            with mock.patch.object(reader, "read", fake):
                assert await reader.read(5) == b"fake"
            its.send(b"abc")
            assert await reader.read(5) == b"abc"

    play(main())


def test_who_inherits_from_ours_is_heard() -> None:
    class Own(streams.StreamReader):
        waits = 0

        async def _wait_for_data(self, name: str) -> None:
            type(self).waits += 1
            await super()._wait_for_data(name)  # type: ignore[misc]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader = Own()
        mine, its = socket.socketpair()
        transport, _ = await loop.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader), sock=mine)
        task = await waiting(reader.read(5))
        its.send(b"abc")
        assert await task == b"abc"
        assert Own.waits == 1
        its.close()
        transport.close()

    erlang.run(main())


@pytest.mark.parametrize("limit", [1, 2.5, 2**70, float("inf")])
def test_any_limit(play: Play, limit: Any) -> None:
    async def main() -> None:
        async with pair(limit=limit) as (reader, its):
            for size in (1, 2, 3, 5, 6, 100):
                its.send(b"x" * size)
                got = b""
                while len(got) < size:
                    got += await reader.read(2)

    play(main())


@pytest.mark.parametrize("break_it", [
    lambda reader: setattr(reader, "_buffer", []),
    lambda reader: delattr(reader, "_buffer"),
    lambda reader: delattr(reader, "_eof"),
    lambda reader: delattr(reader, "_waiter"),
    lambda reader: delattr(reader, "_paused"),
    lambda reader: delattr(reader, "_loop"),
    lambda reader: delattr(reader, "_exception"),
])
def test_a_broken_reader_is_an_error(break_it: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with pair() as (reader, _):
            kept = dict(reader.__dict__)
            break_it(reader)
            with pytest.raises((AttributeError, TypeError)):
                await reader.read(5)
            reader.__dict__.update(kept)

    erlang.run(main())


def test_nothing_is_read_while_the_buffer_is_lent(play: Play) -> None:
    async def main() -> None:
        async with pair() as (reader, its):
            its.send(b"abcdef")
            await arrived(reader, 6)
            with memoryview(reader._buffer):  # type: ignore[attr-defined]
                for size in (3, 6):
                    with pytest.raises(BufferError):
                        await reader.read(size)
            assert await reader.read(9) == b"abcdef"

    play(main())
