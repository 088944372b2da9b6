# SPDX-License-Identifier: Apache-2.0
"""Timers of the event loop: never early, in order, any number of them, and none that wakes it for
nothing."""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import time
import weakref

from conftest import MakeLoop, Play, our_loop, timer

# A double of seconds resolves less than this.
ROUNDING_S = 1e-9


def test_ten_thousand_sleepers_wake_in_the_order_of_their_deadlines(play: Play) -> None:
    async def body() -> None:
        random.seed(5)
        woken: list[float] = []
        loop = asyncio.get_running_loop()
        base = loop.time() + 0.3

        def wake(when: float) -> None:
            assert loop.time() >= when - ROUNDING_S
            woken.append(when)

        async def sleeper(when: float) -> None:
            future = loop.create_future()
            loop.call_at(when, lambda: (wake(when), future.set_result(None)))
            await future

        deadlines = [base + random.random() * 0.2 for _ in range(10_000)]
        await asyncio.gather(*(sleeper(when) for when in deadlines))
        assert woken == sorted(deadlines)

    play(body())


def test_ten_thousand_tasks_that_sleep_all_end(play: Play) -> None:
    async def body() -> None:
        start = time.monotonic()
        await asyncio.gather(*(timer(0.2) for _ in range(10_000)))
        assert time.monotonic() - start >= 0.2

    play(body())


def test_no_sleep_ends_early(play_ours: Play) -> None:
    async def body() -> None:
        random.seed(6)
        for delay in [random.random() ** 4 * 0.004 for _ in range(400)]:
            start = time.monotonic()
            await timer(delay)
            assert time.monotonic() - start >= delay - ROUNDING_S

    play_ours(body())


def test_a_hundred_microseconds_are_neither_nothing_nor_a_millisecond(play_ours: Play) -> None:
    """The reference took both for whole milliseconds. The fastest of many, because a busy machine
    may make any of them late."""

    async def body() -> None:
        taken = []
        for _ in range(300):
            start = time.monotonic()
            await timer(0.0001)
            taken.append(time.monotonic() - start)
        assert 0.0001 - ROUNDING_S <= min(taken) < 0.0009

    play_ours(body())


def test_equal_deadlines_keep_the_order_in_which_they_were_set(play_ours: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        when = loop.time() + 0.01
        for number in range(1000):
            loop.call_at(when, seen.append, number)
        done = loop.create_future()
        loop.call_at(when + 0.001, done.set_result, None)
        await done
        assert seen == list(range(1000))

    play_ours(body())


def test_a_deadline_in_the_past_is_due_at_once(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for when in (loop.time() - 100, 0.0, -5.0):
            done = loop.create_future()
            loop.call_at(when, done.set_result, None)
            await done

    play(body())


def test_a_deadline_that_never_comes_does_no_harm(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        handles = [loop.call_later(delay, lambda: None) for delay in (1e9, 1e18, float("inf"))]
        await timer(0.01)
        for handle in handles:
            handle.cancel()

    play(body())


def test_a_cancelled_timer_is_not_called(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        handles = [loop.call_later(0.01, seen.append, number) for number in range(1000)]
        for handle in handles[::2]:
            handle.cancel()
        await timer(0.05)
        assert seen == list(range(1, 1000, 2))
        assert all(handle.cancelled() == (number % 2 == 0)
                   for number, handle in enumerate(handles))

    play(body())


def test_a_cancelled_timer_keeps_nothing_alive(play: Play) -> None:
    class Kept:
        def call(self) -> None:
            raise AssertionError("called")

    async def body() -> None:
        loop = asyncio.get_running_loop()
        kept = Kept()
        seen = weakref.ref(kept)
        for _ in range(1000):
            loop.call_later(3600, kept.call).cancel()
        del kept
        await asyncio.sleep(0)
        gc.collect()
        assert seen() is None

    play(body())


def test_timers_set_and_cancelled_for_ever_take_no_memory(play_ours: Play) -> None:
    """A timeout around each of many quick operations is this."""

    async def body() -> None:
        loop = asyncio.get_running_loop()

        async def round_of_them() -> None:
            for _ in range(20_000):
                loop.call_later(3600, print).cancel()
            await asyncio.sleep(0)

        await round_of_them()
        before = resident()
        for _ in range(20):
            await round_of_them()
        assert resident() - before < 8 << 20

    def resident() -> int:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    play_ours(body())


def test_a_timer_may_set_and_cancel_others(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        seen: list[str] = []
        later = loop.call_later(0.02, seen.append, "cancelled too late")

        def first() -> None:
            later.cancel()
            loop.call_later(0, seen.append, "set by a timer")
            loop.call_later(0.001, done.set_result, None)

        loop.call_later(0.001, first)
        await done
        await timer(0.03)
        assert seen == ["set by a timer"]

    play(body())


def test_handles_say_when_and_are_asyncios(make_loop: MakeLoop) -> None:
    loop = make_loop()
    try:
        timer = loop.call_at(loop.time() + 12.5, print)
        assert isinstance(timer, asyncio.TimerHandle) and isinstance(timer, asyncio.Handle)
        assert loop.time() + 12 < timer.when() <= loop.time() + 12.5
        soon = loop.call_soon(print)
        assert isinstance(soon, asyncio.Handle) and not soon.cancelled()
        soon.cancel()
        timer.cancel()
        assert soon.cancelled() and timer.cancelled()
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert soon.cancelled()
    finally:
        loop.close()


def test_an_idle_loop_does_not_wake_up() -> None:
    """With a timer that is far away, and a descriptor that nothing happens to."""

    async def body() -> int:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        far = loop.call_later(3600, print)
        await timer(0.01)
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        await timer(0.5)
        after = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        far.cancel()
        server.close()
        return after - before

    loop = our_loop()
    try:
        # One is that of the sleep itself.
        assert loop.run_until_complete(body()) <= 1
    finally:
        loop.close()
