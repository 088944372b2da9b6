# SPDX-License-Identifier: Apache-2.0
"""loop_functions.py FACTORY: what bench/loop.py measures of loops without a network.

Reads lines `NAME SCALE` from standard input, and prints one figure for each: that of the function
of that name on a new loop, with so many times its usual number of repetitions."""

from __future__ import annotations

import asyncio
import gc
import importlib
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable


def rate(count: int, since: float) -> float:
    return count / (time.perf_counter() - since)


async def chain(schedule: Callable[..., object], count: int) -> float:
    """Callbacks that each schedule the next."""
    done = asyncio.get_running_loop().create_future()

    def step(left: int) -> None:
        if left:
            schedule(step, left - 1)
        else:
            done.set_result(None)

    start = time.perf_counter()
    schedule(step, count)
    await done
    return rate(count, start)


async def call_soon(scale: float) -> float:
    return await chain(asyncio.get_running_loop().call_soon, int(100_000 * scale))


async def call_soon_threadsafe(scale: float) -> float:
    return await chain(asyncio.get_running_loop().call_soon_threadsafe, int(50_000 * scale))


async def call_soon_from_thread(scale: float) -> float:
    """Another thread hands over callbacks as fast as it can."""
    count = int(20_000 * scale)
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    seen = 0

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set_result(None)

    def hand_over() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(step)

    thread = threading.Thread(target=hand_over)
    start = time.perf_counter()
    thread.start()
    await done
    result = rate(count, start)
    thread.join()
    return result


async def nothing() -> None:
    pass


async def create_task(scale: float) -> float:
    """Created and awaited, one after the other."""
    loop = asyncio.get_running_loop()
    count = int(30_000 * scale)
    start = time.perf_counter()
    for _ in range(count):
        await loop.create_task(nothing())
    return rate(count, start)


async def sleep_0(scale: float) -> float:
    count = int(50_000 * scale)
    start = time.perf_counter()
    for _ in range(count):
        await asyncio.sleep(0)
    return rate(count, start)


async def sleep_0_100_tasks(scale: float) -> float:
    count = int(500 * scale)

    async def body() -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    start = time.perf_counter()
    await asyncio.gather(*(body() for _ in range(100)))
    return rate(100 * count, start)


async def call_later_cancel(scale: float) -> float:
    loop = asyncio.get_running_loop()
    rounds = int(30 * scale)
    start = time.perf_counter()
    for _ in range(rounds):
        for _ in range(1000):
            loop.call_later(10, nothing).cancel()
        await asyncio.sleep(0)
    return rate(rounds * 1000, start)


async def call_later_fires(scale: float) -> float:
    """Deadlines in the next millisecond, in no order."""
    loop = asyncio.get_running_loop()
    count = int(20_000 * scale)
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    start = time.perf_counter()
    for number in range(count):
        loop.call_later(number * 7919 % 1000 * 1e-6, step)
    await done
    return rate(count, start)


async def lateness(delay: float, count: int) -> float:
    """Median, in us; negative if too early."""
    late = []
    for _ in range(count):
        start = time.perf_counter()
        await asyncio.sleep(delay)
        late.append((time.perf_counter() - start - delay) * 1e6)
    return statistics.median(late)


async def sleep_1ms_lateness(scale: float) -> float:
    return await lateness(0.001, int(200 * scale))


async def sleep_100us_lateness(scale: float) -> float:
    return await lateness(0.0001, int(500 * scale))


async def idle_wakeups(scale: float) -> float:
    """Per second, of a loop that waits for a descriptor and for a time."""
    async def nobody(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        pass

    server = await asyncio.start_server(nobody, "127.0.0.1", 0)
    await asyncio.sleep(0.01)
    before = resource.getrusage(resource.RUSAGE_THREAD)
    await asyncio.sleep(scale)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    server.close()
    # The time's own.
    return (after.ru_nvcsw - before.ru_nvcsw - 1) / scale


FUNCTIONS = {function.__name__: function for function in (
    call_soon, call_soon_threadsafe, call_soon_from_thread, create_task, sleep_0,
    sleep_0_100_tasks, call_later_cancel, call_later_fires, sleep_1ms_lateness,
    sleep_100us_lateness, idle_wakeups)}


def main(factory: str) -> None:
    module, _, name = factory.partition(":")
    new_loop = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        wanted, scale = line.split()
        gc.collect()
        loop = new_loop()
        try:
            print(loop.run_until_complete(FUNCTIONS[wanted](float(scale))), flush=True)
        finally:
            loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
