# SPDX-License-Identifier: Apache-2.0
"""A buffer and coroutines, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import os
import threading

import erlang
import pytest
import streams
from conftest import collect
from erlang import BufferAborted, PyBuffer
from streams import wait_for_reader
from test_channel_async import Run, new_loop, run, until
from test_channel_threads import Result

__all__ = ["new_loop", "run"]


def waiting(buffer: PyBuffer) -> int:
    return streams.readers_waiting(buffer)


def test_what_is_there_is_read_without_the_loop() -> None:
    buffer = streams.of(b"line\nrest and more")
    for awaitable, expected in (
        (buffer.areadline(), b"line\n"),
        (buffer.aread(4), b"rest"),
        (buffer.aread1(size=4), b" and"),
        (buffer.areadline(size=2), b" m"),
        (buffer.aread(), b"ore"),
        (buffer.aread(None), b""),
    ):
        with pytest.raises(StopIteration) as end:
            awaitable.send(None)
        assert end.value.value == expected


def test_they_are_coroutines() -> None:
    buffer = streams.new_stream()
    for method in ("aread", "aread1", "areadline"):
        awaitable = getattr(buffer, method)()
        assert isinstance(awaitable, collections.abc.Coroutine)
        assert awaitable.__name__ == f"PyBuffer.{method}"
        awaitable.close()
    assert buffer.__aiter__() is buffer
    assert isinstance(buffer, collections.abc.AsyncIterator)
    with pytest.raises(TypeError):
        buffer.aread("1")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no running event loop"):
        buffer.aread().send(None)
    assert waiting(buffer) == 0


def test_bytes_that_come_later_wake_it(run: Run) -> None:
    async def main() -> None:
        buffer = streams.new_stream(content_length=10)
        read = asyncio.create_task(buffer.aread(6))
        await until(lambda: waiting(buffer) == 1)
        streams.write(buffer, b"abc")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not read.done() and waiting(buffer) == 1
        streams.write(buffer, b"def")
        assert await read == b"abcdef"
        line = asyncio.create_task(buffer.areadline())
        await until(lambda: waiting(buffer) == 1)
        streams.write(buffer, b"12")
        await until(lambda: waiting(buffer) == 1)
        streams.write(buffer, b"\n")
        assert await line == b"12\n"
        streams.write(buffer, b"!")
        assert await buffer.aread() == b"!" and await buffer.aread() == b""

    run(main())


def test_the_end_wakes_everybody(run: Run) -> None:
    async def main(end: str) -> list[object]:
        buffer = streams.new_stream(content_length=-1 if end == "close" else 10)
        tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (buffer.aread(), buffer.aread(3), buffer.aread1(), buffer.areadline())
        ]
        await until(lambda: waiting(buffer) == 4)
        if end == "close":
            streams.close(buffer)
        elif end == "abort":
            streams.abort(buffer, end)
        else:
            buffer.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert run(main("close")) == [b""] * 4
    assert run(main("close here")) == [b""] * 4
    errors = run(main("abort"))
    assert [type(error) for error in errors] == [BufferAborted] * 4
    assert errors[0].reason == "abort"


@pytest.mark.parametrize("bound", [0, 10, 10_000])
def test_async_for_takes_lines_of_a_writing_thread(run: Run, bound: int) -> None:
    lines = [b"x" * (i % 50) + b"\n" for i in range(2_000)] + [b"last"]

    async def main() -> list[bytes]:
        buffer = streams.new_stream(max_unread=bound, retains=False)
        writer = Result(
            lambda: (streams.feed(buffer, b"".join(lines), 9), streams.close(buffer))[0]
        )
        taken = [line async for line in buffer]
        assert writer.get() == "ok"
        with pytest.raises(StopAsyncIteration):
            await buffer.__anext__()
        return taken

    assert run(main()) == lines


def test_async_for_raises_what_reading_raises(run: Run) -> None:
    async def main() -> list[bytes]:
        buffer = streams.of(b"one\nrest", closed=False)
        streams.abort(buffer)
        taken = []
        with pytest.raises(BufferAborted):
            async for line in buffer:
                taken.append(line)
        assert buffer.read1() == b"rest"
        return taken

    assert run(main()) == [b"one\n"]


@pytest.mark.parametrize("bound", [0, 7])
def test_a_cancelled_read_has_taken_nothing(run: Run, bound: int) -> None:
    async def main() -> None:
        buffer = streams.new_stream(max_unread=bound)
        streams.write(buffer, b"kept")
        for coroutine in (buffer.aread, buffer.areadline, buffer.__anext__):
            task = asyncio.create_task(coroutine())
            await until(lambda: waiting(buffer) == 1)
            if coroutine == buffer.aread:
                streams.write(buffer, b", too")
                await until(lambda: waiting(buffer) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert waiting(buffer) == 0 and buffer.tell() == 0
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(buffer.aread(), 0.001)
        assert buffer.read1() == b"kept, too"

    run(main())


def test_cancelled_in_the_moment_of_the_wake_up(run: Run) -> None:
    async def main() -> None:
        for _ in range(200):
            buffer = streams.new_stream()
            first = asyncio.create_task(buffer.aread(1))
            second = asyncio.create_task(buffer.aread(1))
            await until(lambda: waiting(buffer) == 2)
            streams.write(buffer, b"x")
            first.cancel()
            assert await second == b"x"
            assert len(buffer) == 0

    run(main())


def test_several_at_once_share_the_bytes(run: Run) -> None:
    async def main() -> None:
        buffer = streams.new_stream()
        lines = [b"%d\n" % i for i in range(1_000)]

        async def take() -> list[bytes]:
            return [line async for line in buffer]

        tasks = [asyncio.create_task(take()) for _ in range(4)]
        thread = Result(lambda: list(buffer))
        await until(lambda: waiting(buffer) == 5)
        writer = threading.Thread(
            target=lambda: [streams.feed(buffer, b"".join(lines), 3), streams.close(buffer)]
        )
        writer.start()
        parts = await asyncio.gather(*tasks)
        parts.append(thread.get())
        writer.join()
        assert sorted(line for part in parts for line in part) == sorted(lines)

    run(main())


def test_a_large_body_through_a_small_bound(run: Run) -> None:
    data = os.urandom(3 << 20)

    async def main() -> None:
        for known in (True, False):
            buffer = streams.new_stream(
                content_length=len(data) if known else -1, max_unread=10_000, retains=False
            )
            writer = Result(lambda b=buffer: (streams.feed(b, data, 7_001), streams.close(b)))
            assert await buffer.aread() == data
            writer.get()

    run(main())


def test_the_applications_stop_ends_a_wait(run: Run) -> None:
    buffer = streams.new_stream()
    loop = Result(lambda: run(buffer.aread()))
    wait_for_reader(buffer)
    erlang._native._set_stopped(True)
    try:
        with pytest.raises(erlang.ApplicationStopped):
            loop.get()
    finally:
        erlang._native._set_stopped(False)
    assert waiting(buffer) == 0


def test_a_loop_that_goes_away_takes_its_waits_with_it(new_loop: object) -> None:
    buffer = streams.new_stream()
    loop = new_loop()  # type: ignore[operator]
    task = loop.create_task(buffer.aread())
    loop.run_until_complete(asyncio.sleep(0))
    assert waiting(buffer) == 1
    loop.close()
    del loop, task
    collect()
    assert waiting(buffer) == 0
    streams.write(buffer, b"kept")
    assert buffer.read1() == b"kept"


def test_a_coroutine_keeps_its_buffer(run: Run) -> None:
    async def main() -> bytes:
        read = streams.of(b"kept", closed=False, content_length=4).aread()
        gc.collect()
        return await read

    assert run(main()) == b"kept"
