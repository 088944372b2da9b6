# SPDX-License-Identifier: Apache-2.0
"""A channel and coroutines, on asyncio's own loop, on ours and on uvloop."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import erlang
import pytest
from conftest import collect, data_waiters, wait_until
from erlang import Channel, ChannelClosed, _native

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

NewChannel = Callable[..., Channel]
NewLoop = Callable[[], asyncio.AbstractEventLoop]


LOOPS: dict[str, NewLoop] = {
    "asyncio": asyncio.SelectorEventLoop,
    "erlang": erlang.new_event_loop,
}
if uvloop is not None:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS)
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    return LOOPS[request.param]


def test_uvloop_is_tried_too() -> None:
    """One skip for all tests of this and other files that use new_loop."""
    if uvloop is None:
        pytest.skip("uvloop is not installed for this Python")


@pytest.fixture
def run(new_loop: NewLoop) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def run_on_new_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
        loop = new_loop()
        try:
            asyncio.set_event_loop(loop)
            return loop.run_until_complete(coroutine)
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    return run_on_new_loop


Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks of this loop run until the condition is true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


def test_what_is_there_is_received_without_the_loop(channel: Channel) -> None:
    channel.send("x")
    awaitable = channel.async_receive()
    with pytest.raises(StopIteration) as end:
        awaitable.send(None)  # No loop runs here.
    assert end.value.value == "x"
    for message in ((1, 2), StopIteration(3).args, None):
        channel.send(message)
        with pytest.raises(StopIteration) as end:
            next(channel.async_receive())
        assert end.value.value == message


def test_waiting_needs_a_running_loop(channel: Channel) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        channel.async_receive().send(None)
    assert data_waiters(channel) == 0


def test_it_is_a_coroutine_to_asyncio_and_typing(channel: Channel) -> None:
    awaitable = channel.async_receive()
    assert asyncio.iscoroutine(awaitable)
    assert isinstance(awaitable, collections.abc.Coroutine)
    assert awaitable.__name__ == awaitable.__qualname__ == "Channel.async_receive"
    assert channel.__aiter__() is channel
    assert isinstance(channel, collections.abc.AsyncIterator)


def test_messages_that_come_later_wake_it(run: Run, channel: Channel) -> None:
    async def main() -> None:
        for message in ("x", None, (1, "y")):
            task = asyncio.create_task(channel.async_receive())
            await until(lambda: data_waiters(channel) == 1)
            channel.send(message)
            assert await task == message
        assert "Channel.async_receive" in repr(asyncio.create_task(channel.async_receive()))

    run(main())
    assert data_waiters(channel) == 0


def test_messages_from_another_thread_wake_the_sleeping_loop(run: Run, channel: Channel) -> None:
    async def main() -> None:
        def send() -> None:
            for i in range(100):
                wait_until(lambda: data_waiters(channel) == 1)
                channel.send(i)

        thread = threading.Thread(target=send)
        thread.start()
        assert [await channel.async_receive() for _ in range(100)] == list(range(100))
        thread.join()

    run(main())


def test_async_for_gets_everything_and_then_ends(run: Run, channel: Channel) -> None:
    async def main() -> None:
        def send() -> None:
            for i in range(20_000):
                channel.send(i if i % 7 else None)
            channel.close()

        thread = threading.Thread(target=send)
        thread.start()
        assert [m async for m in channel] == [i if i % 7 else None for i in range(20_000)]
        thread.join()
        async for _ in channel:
            raise AssertionError("the channel is drained")

    run(main())


def test_other_coroutines_run_while_one_waits(run: Run, channel: Channel) -> None:
    async def main() -> None:
        task = asyncio.create_task(channel.async_receive())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        channel.send(1)
        assert await task == 1

    run(main())


def test_an_idle_wait_makes_the_loop_do_nothing(channel: Channel) -> None:
    class CountingLoop(asyncio.SelectorEventLoop):
        turns = 0

        def _run_once(self) -> None:
            self.turns += 1
            super()._run_once()  # type: ignore[misc]

    loop = CountingLoop()

    async def main() -> int:
        task = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 1)
        before = loop.turns
        done, _ = await asyncio.wait({task}, timeout=0.2)
        assert not done
        turns = loop.turns - before
        channel.send(1)
        await task
        return turns

    assert loop.run_until_complete(main()) <= 2
    loop.close()


def test_waiters_are_served_first_come_first_served(run: Run, channel: Channel) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(channel.async_receive()) for _ in range(50)]
        await until(lambda: data_waiters(channel) == 50)
        for i in range(50):
            channel.send(i)
        assert await asyncio.gather(*tasks) == list(range(50))

    run(main())


def test_close_wakes_every_waiter(run: Run, channel: Channel) -> None:
    async def main() -> None:
        async def iterate() -> list[object]:
            return [m async for m in channel]

        tasks = [asyncio.create_task(channel.async_receive()) for _ in range(5)]
        iterations = [asyncio.create_task(iterate()) for _ in range(5)]
        await until(lambda: data_waiters(channel) == 10)
        channel.close()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(r) for r in results] == [ChannelClosed] * 5
        assert await asyncio.gather(*iterations) == [[]] * 5

    run(main())


def test_what_was_sent_before_close_is_received_first(run: Run, channel: Channel) -> None:
    async def main() -> None:
        task = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 1)
        channel.send(1)
        channel.send(2)
        channel.close()
        assert await task == 1
        assert await channel.async_receive() == 2
        with pytest.raises(ChannelClosed):
            await channel.async_receive()

    run(main())


def test_the_death_of_the_last_sender_ends_it(run: Run, channel: Channel) -> None:
    async def main() -> None:
        task = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 1)
        _native._remove_sender(channel)
        with pytest.raises(ChannelClosed):
            await task
        with pytest.raises(ChannelClosed):
            await channel.async_receive()

    run(main())


def test_a_timeout_leaves_nothing_behind(run: Run, channel: Channel) -> None:
    async def main() -> None:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(channel.async_receive(), 0.001)
        assert data_waiters(channel) == 0
        channel.send("kept")
        assert await asyncio.wait_for(channel.async_receive(), 10) == "kept"

    run(main())


def test_cancelling_before_a_message_comes_leaves_it_to_the_next(
    run: Run, channel: Channel
) -> None:
    async def main() -> None:
        task = asyncio.create_task(channel.async_receive())
        other = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert data_waiters(channel) == 1
        channel.send(1)
        assert await other == 1

    run(main())


def test_cancelling_after_a_wake_up_passes_it_on(run: Run, channel: Channel) -> None:
    """The wake-up is on its way to the loop, which has not seen it."""

    async def main() -> None:
        first = asyncio.create_task(channel.async_receive())
        second = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 2)
        channel.send("x")
        first.cancel()
        assert await asyncio.wait_for(second, 60) == "x"
        assert first.cancelled()
        assert data_waiters(channel) == 0

    run(main())


def test_cancelling_after_the_loop_saw_the_wake_up_passes_it_on(run: Run, channel: Channel) -> None:
    """The future is done, and the coroutine is ended before its turn."""

    async def main() -> None:
        first = channel.async_receive()
        future = first.send(None)
        second = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 2)
        channel.send("x")
        await until(future.done)
        with pytest.raises(asyncio.CancelledError):
            first.throw(asyncio.CancelledError())
        assert await asyncio.wait_for(second, 60) == "x"
        assert data_waiters(channel) == 0

    run(main())


def test_cancelling_at_any_moment_loses_no_message(run: Run, channel: Channel) -> None:
    total = 3000

    def send() -> None:
        for i in range(total):
            channel.send(i)

    async def main() -> None:
        received: list[object] = []

        async def consume() -> None:
            while True:
                received.append(await channel.async_receive())

        thread = threading.Thread(target=send)
        thread.start()
        consumers = [asyncio.create_task(consume()) for _ in range(3)]
        round_ = 0
        while len(received) < total:
            round_ += 1
            for _ in range(round_ % 4):
                await asyncio.sleep(0)
            consumers[0].cancel()
            consumers = [*consumers[1:], asyncio.create_task(consume())]
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        thread.join()
        assert sorted(received) == list(range(total))  # type: ignore[type-var]

    run(main())
    assert data_waiters(channel) == 0
    assert channel.try_receive() is None


def test_coroutines_threads_and_loops_wait_on_one_channel(
    new_loop: NewLoop, channel: Channel
) -> None:
    total = 6000
    taken: list[list[object]] = []

    def in_loop() -> None:
        async def consume() -> list[object]:
            return [m async for m in channel]

        async def main() -> None:
            for part in await asyncio.gather(consume(), consume()):
                taken.append(part)

        loop = new_loop()
        loop.run_until_complete(main())
        loop.close()

    threads = [threading.Thread(target=in_loop) for _ in range(3)]
    threads += [threading.Thread(target=lambda: taken.append(list(channel))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(total):
        channel.send(i)
        if i % 500 == 0:
            wait_until(lambda: data_waiters(channel) > 0)
    channel.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert sorted(sum(taken, [])) == list(range(total))  # type: ignore[type-var]


def test_a_loop_that_is_closed_with_a_waiter_leaves_nothing_behind(
    new_loop: NewLoop, channel: Channel
) -> None:
    loop = new_loop()
    coroutine = channel.async_receive()
    task = loop.create_task(coroutine)

    async def turn() -> None:
        await until(lambda: data_waiters(channel) == 1)

    loop.run_until_complete(turn())
    assert _native._endpoints() == 1
    loop.close()
    collect()
    assert _native._endpoints() == 0
    assert data_waiters(channel) == 0
    channel.send("kept")
    assert channel.receive(10) == "kept"
    coroutine.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task, coroutine
    collect()


def test_a_wake_up_given_to_a_closed_loop_goes_to_the_next(
    new_loop: NewLoop, channel: Channel
) -> None:
    for loop_saw_it in (False, True):
        loop = new_loop()
        dead = loop.create_task(channel.async_receive())

        async def turn() -> None:
            await until(lambda: data_waiters(channel) == 1)

        loop.run_until_complete(turn())
        received: list[object] = []
        thread = threading.Thread(target=lambda: received.append(channel.receive()))
        thread.start()
        wait_until(lambda: data_waiters(channel) == 2)
        channel.send("x")  # For the coroutine, which is first in line.
        if loop_saw_it:
            dead.get_coro().close()
        loop.close()
        dead._log_destroy_pending = False  # type: ignore[attr-defined]
        del dead
        collect()
        thread.join(60)
        assert received == ["x"]
        assert data_waiters(channel) == 0


def test_a_coroutine_that_is_dropped_leaves_the_line(run: Run, channel: Channel) -> None:
    async def main() -> None:
        async def wait() -> None:
            await channel.async_receive()

        for make in (channel.async_receive, wait):
            coroutine = make()
            future = coroutine.send(None)
            assert data_waiters(channel) == 1
            assert asyncio.isfuture(future)
            del coroutine
            gc.collect()
            assert data_waiters(channel) == 0

    run(main())


def test_close_and_throw_end_it(run: Run, channel: Channel) -> None:
    async def main() -> None:
        coroutine = channel.async_receive()
        coroutine.send(None)
        coroutine.close()
        assert data_waiters(channel) == 0
        coroutine.close()
        with pytest.raises(RuntimeError, match="cannot reuse"):
            await coroutine

        for arguments in (
            (ValueError("x"),),
            (ValueError,),
            (ValueError, "x"),
            (ValueError, ValueError("x"), None),
        ):
            for started in (False, True):
                coroutine = channel.async_receive()
                if started:
                    coroutine.send(None)
                with pytest.raises(ValueError):
                    coroutine.throw(*arguments)
                assert data_waiters(channel) == 0
                with pytest.raises(RuntimeError, match="cannot reuse"):
                    coroutine.send(None)
        with pytest.raises(TypeError):
            channel.async_receive().throw(1)  # type: ignore[arg-type]

    run(main())


def test_resuming_it_without_its_future_is_harmless(run: Run, channel: Channel) -> None:
    async def main() -> None:
        coroutine = channel.async_receive()
        for _ in range(5):
            coroutine.send(None)
            assert data_waiters(channel) == 1
        channel.send(1)
        with pytest.raises(StopIteration) as end:
            coroutine.send(None)
        assert end.value.value == 1
        task = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 1)
        channel.send(2)
        assert await task == 2

    run(main())


def test_a_waiter_whose_message_was_taken_keeps_its_place(run: Run, channel: Channel) -> None:
    async def main() -> None:
        first = asyncio.create_task(channel.async_receive())
        second = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 2)
        channel.send("stolen")
        assert channel.try_receive() == "stolen"  # Before the loop could see it.
        await until(lambda: data_waiters(channel) == 2)
        channel.send(1)
        channel.send(2)
        assert (await first, await second) == (1, 2)

    run(main())


def test_the_applications_stop_ends_waits_on_loops(new_loop: NewLoop, channel: Channel) -> None:
    ended: list[str] = []

    def in_loop() -> None:
        loop = new_loop()
        try:
            loop.run_until_complete(channel.async_receive())
        except erlang.ApplicationStopped:
            ended.append("stopped")
        finally:
            loop.close()

    threads = [threading.Thread(target=in_loop) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: data_waiters(channel) == 3)
    _native._set_stopped(True)
    try:
        for thread in threads:
            thread.join(60)
        assert ended == ["stopped"] * 3
        in_loop()
        assert len(ended) == 4
    finally:
        _native._set_stopped(False)
    assert data_waiters(channel) == 0


def test_many_loops_one_after_the_other(new_loop: NewLoop, channel: Channel) -> None:
    async def main(i: int) -> None:
        task = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 1)
        channel.send(i)
        assert await task == i

    for i in range(100):
        loop = new_loop()
        loop.run_until_complete(main(i))
        loop.close()
    del loop
    collect()
    assert _native._endpoints() == 0


def test_an_endpoint_does_not_keep_its_loop_alive(channel: Channel) -> None:
    import weakref

    loop = asyncio.SelectorEventLoop()

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(channel.async_receive(), 0)

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    reference = weakref.ref(loop)
    loop.close()
    del loop
    collect()
    assert reference() is None
    assert _native._endpoints() == 0


def test_asyncio_debug_mode_is_fine(channel: Channel) -> None:
    async def main() -> None:
        task = asyncio.create_task(channel.async_receive())
        await until(lambda: data_waiters(channel) == 1)
        channel.send(1)
        assert await task == 1

    asyncio.run(main(), debug=True)


def test_a_loop_that_resumes_it_from_within_is_refused(channel: Channel) -> None:
    class EvilLoop(asyncio.SelectorEventLoop):
        attack: Callable[[], object] | None = None

        def create_future(self) -> asyncio.Future[Any]:
            if self.attack is not None:
                for method in (
                    lambda: coroutine.send(None),
                    coroutine.close,
                    lambda: coroutine.throw(ValueError),
                ):
                    with pytest.raises(RuntimeError, match="already executing"):
                        method()
            return super().create_future()

    loop = EvilLoop()
    coroutine = channel.async_receive()

    async def main() -> None:
        loop.attack = lambda: None
        coroutine.send(None)
        loop.attack = None
        assert data_waiters(channel) == 1
        coroutine.close()
        assert data_waiters(channel) == 0

    loop.run_until_complete(main())
    loop.close()
