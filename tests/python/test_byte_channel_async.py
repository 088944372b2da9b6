# SPDX-License-Identifier: Apache-2.0
"""A byte channel and coroutines, on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import collections.abc
import threading

import erlang
import pytest
from conftest import collect, data_waiters, wait_until
from erlang import ByteChannel, ByteChannelClosed, _native
from test_byte_channel import pattern
from test_channel_async import NewLoop, Run, new_loop, run, until

__all__ = ["new_loop", "run"]  # Fixtures.

METHODS = ["async_receive_bytes", "async_receive_view", "__anext__"]
every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_what_is_there_is_received_without_the_loop(byte_channel: ByteChannel, method: str) -> None:
    for size in (0, 1, 8192, 1 << 20):
        byte_channel.send_bytes(pattern(size))
        with pytest.raises(StopIteration) as end:
            getattr(byte_channel, method)().send(None)
        assert end.value.value == pattern(size)


@every_method
def test_it_is_a_coroutine_with_a_name_that_errors_use(
    byte_channel: ByteChannel, method: str
) -> None:
    awaitable = getattr(byte_channel, method)()
    assert asyncio.iscoroutine(awaitable)
    assert isinstance(awaitable, collections.abc.Coroutine)
    assert awaitable.__name__ == awaitable.__qualname__ == f"ByteChannel.{method}"
    with pytest.raises(RuntimeError, match="no running event loop"):
        awaitable.send(None)
    with pytest.raises(RuntimeError, match=rf"cannot reuse an awaited {method}\(\)"):
        awaitable.send(None)
    assert data_waiters(byte_channel) == 0
    assert byte_channel.__aiter__() is byte_channel
    assert isinstance(byte_channel, collections.abc.AsyncIterator)


@every_method
def test_messages_that_come_later_wake_it(
    run: Run, byte_channel: ByteChannel, method: str
) -> None:
    async def main() -> None:
        for size in (0, 10, 20_000, 1 << 20):
            task = asyncio.ensure_future(getattr(byte_channel, method)())
            await until(lambda: data_waiters(byte_channel) == 1)
            byte_channel.send_bytes(pattern(size))
            assert await task == pattern(size)

    run(main())
    assert data_waiters(byte_channel) == 0


def test_async_for_gets_everything_and_then_ends(run: Run, byte_channel: ByteChannel) -> None:
    sent = [b"%d" % i + bytes(i % 3 * 5000) for i in range(5000)]

    async def main() -> None:
        def send() -> None:
            byte_channel.send_many(sent)
            byte_channel.close()

        thread = threading.Thread(target=send)
        thread.start()
        assert [m async for m in byte_channel] == sent
        thread.join()
        async for _ in byte_channel:
            raise AssertionError("the channel is drained")

    run(main())


def test_close_wakes_every_waiter(run: Run, byte_channel: ByteChannel) -> None:
    async def main() -> None:
        async def iterate() -> list[bytes]:
            return [m async for m in byte_channel]

        tasks = [
            asyncio.ensure_future(getattr(byte_channel, method)())
            for method in METHODS[:2]
            for _ in range(3)
        ]
        iterations = [asyncio.ensure_future(iterate()) for _ in range(3)]
        await until(lambda: data_waiters(byte_channel) == 9)
        byte_channel.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(r) for r in results] == [ByteChannelClosed] * 6
        assert await asyncio.gather(*iterations) == [[]] * 3

    run(main())


def test_what_was_sent_before_close_is_received_first(run: Run, byte_channel: ByteChannel) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(byte_channel.async_receive_bytes())
        await until(lambda: data_waiters(byte_channel) == 1)
        byte_channel.send_many([b"1", b"2"])
        byte_channel.close()
        assert await task == b"1"
        assert await byte_channel.async_receive_view() == b"2"
        with pytest.raises(ByteChannelClosed):
            await byte_channel.async_receive_bytes()

    run(main())


def test_the_death_of_the_last_sender_ends_it(run: Run, byte_channel: ByteChannel) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(byte_channel.async_receive_bytes())
        await until(lambda: data_waiters(byte_channel) == 1)
        _native._remove_sender(byte_channel)
        with pytest.raises(ByteChannelClosed):
            await task

    run(main())


def test_the_applications_stop_ends_it(run: Run, byte_channel: ByteChannel) -> None:
    async def main() -> None:
        async def wait() -> None:
            with pytest.raises(erlang.ApplicationStopped):
                await byte_channel.async_receive_view()

        task = asyncio.ensure_future(wait())
        await until(lambda: data_waiters(byte_channel) == 1)
        _native._set_stopped(True)
        try:
            await task
        finally:
            _native._set_stopped(False)

    run(main())
    assert data_waiters(byte_channel) == 0


@every_method
def test_a_timeout_leaves_nothing_behind(
    run: Run, byte_channel: ByteChannel, method: str
) -> None:
    async def main() -> None:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(getattr(byte_channel, method)(), 0.001)
        assert data_waiters(byte_channel) == 0
        byte_channel.send_bytes(b"kept")
        assert await asyncio.wait_for(getattr(byte_channel, method)(), 10) == b"kept"

    run(main())


@every_method
def test_cancelling_after_a_wake_up_passes_it_on(
    run: Run, byte_channel: ByteChannel, method: str
) -> None:
    async def main() -> None:
        first = asyncio.ensure_future(getattr(byte_channel, method)())
        second = asyncio.ensure_future(byte_channel.async_receive_bytes())
        await until(lambda: data_waiters(byte_channel) == 2)
        byte_channel.send_bytes(b"x")
        first.cancel()
        assert await asyncio.wait_for(second, 60) == b"x"
        assert first.cancelled()
        assert data_waiters(byte_channel) == 0

    run(main())


def test_cancelling_at_any_moment_loses_no_message(run: Run, byte_channel: ByteChannel) -> None:
    total = 2000
    sent = [b"%d" % i + bytes(i % 2 * 9000) for i in range(total)]

    async def main() -> None:
        received: list[bytes] = []

        async def consume(method: str) -> None:
            while True:
                received.append(bytes(await getattr(byte_channel, method)()))

        thread = threading.Thread(target=byte_channel.send_many, args=(sent,))
        thread.start()
        consumers = [asyncio.ensure_future(consume(method)) for method in METHODS]
        round_ = 0
        while len(received) < total:
            round_ += 1
            for _ in range(round_ % 4):
                await asyncio.sleep(0)
            consumers[0].cancel()
            consumers = [*consumers[1:], asyncio.ensure_future(consume(METHODS[round_ % 3]))]
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        thread.join()
        assert sorted(received) == sorted(sent)

    run(main())
    assert data_waiters(byte_channel) == 0
    assert byte_channel.try_receive_bytes() is None
    assert byte_channel.info()["pinned"] == 0


def test_coroutines_threads_and_loops_wait_on_one_channel(
    new_loop: NewLoop, byte_channel: ByteChannel
) -> None:
    total = 3000
    taken: list[list[bytes]] = []

    def in_loop() -> None:
        async def consume() -> list[bytes]:
            return [m async for m in byte_channel]

        async def views() -> list[bytes]:
            part = []
            try:
                while True:
                    part.append((await byte_channel.async_receive_view()).tobytes())
            except ByteChannelClosed:
                return part

        async def main() -> None:
            for part in await asyncio.gather(consume(), views()):
                taken.append(part)

        loop = new_loop()
        loop.run_until_complete(main())
        loop.close()

    threads = [threading.Thread(target=in_loop) for _ in range(2)]
    threads += [threading.Thread(target=lambda: taken.append(list(byte_channel)))]
    for thread in threads:
        thread.start()
    for i in range(total):
        byte_channel.send_bytes(b"%05d" % i + bytes(i % 2 * 9000))
        if i % 500 == 0:
            wait_until(lambda: data_waiters(byte_channel) > 0)
    byte_channel.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert sorted(int(m[:5]) for m in sum(taken, [])) == list(range(total))


def test_a_wake_up_given_to_a_closed_loop_goes_to_the_next(
    new_loop: NewLoop, byte_channel: ByteChannel
) -> None:
    loop = new_loop()
    dead = loop.create_task(byte_channel.async_receive_bytes())

    async def turn() -> None:
        await until(lambda: data_waiters(byte_channel) == 1)

    loop.run_until_complete(turn())
    received: list[bytes] = []
    thread = threading.Thread(target=lambda: received.append(byte_channel.receive_bytes()))
    thread.start()
    wait_until(lambda: data_waiters(byte_channel) == 2)
    byte_channel.send_bytes(b"x")  # For the coroutine, which is first in line.
    loop.close()
    dead._log_destroy_pending = False  # type: ignore[attr-defined]
    del dead
    collect()
    thread.join(60)
    assert received == [b"x"]
    assert data_waiters(byte_channel) == 0


def test_generic_types_can_be_written() -> None:
    assert _native.ReceiveAwaitable[bytes].__origin__ is _native.ReceiveAwaitable
    assert _native.ChannelIterator[bytes].__origin__ is _native.ChannelIterator
