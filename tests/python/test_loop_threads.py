# SPDX-License-Identifier: Apache-2.0
"""Many event loops at once, each in a thread of its own, and threads that call into them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import HANG_S, MakeLoop, our_loop, timer

LOOPS = 8


def in_threads(count: int, body: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return [found.result(HANG_S / 2) for found in
                [pool.submit(body, number) for number in range(count)]]


def test_many_loops_have_nothing_in_common() -> None:
    async def work(number: int) -> list[object]:
        loop = asyncio.get_running_loop()
        seen: list[object] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert asyncio.get_running_loop() is loop
            writer.write(await reader.readexactly(4))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        for turn in range(100):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            message = (number * 1000 + turn).to_bytes(4, "big")
            writer.write(message)
            assert await reader.read() == message
            writer.close()
            loop.call_later(0.001, seen.append, (number, turn))
            await timer(0.0005)
        server.close()
        await timer(0.01)
        return seen

    def body(number: int) -> list[object]:
        loop = our_loop()
        try:
            return loop.run_until_complete(work(number))
        finally:
            loop.close()

    for number, seen in enumerate(in_threads(LOOPS, body)):
        assert seen == [(number, turn) for turn in range(100)]


def test_iterations_by_hand_from_many_threads() -> None:
    """As the document's example drives them: no thread sees another's callbacks."""

    def body(number: int) -> list[int]:
        loop = our_loop()
        seen: list[int] = []
        for turn in range(50):
            loop.call_soon(seen.append, number)
            loop.call_later(turn * 0.0002, seen.append, number)
        while len(seen) < 100:
            loop._run_once()
        loop.close()
        return seen

    for number, seen in enumerate(in_threads(LOOPS, body)):
        assert seen == [number] * 100


def test_what_threads_hand_over_arrives_in_their_order(make_loop: MakeLoop) -> None:
    loop = make_loop()
    threads, each = 4, 5000
    seen: dict[int, list[int]] = {number: [] for number in range(threads)}
    left = threads * each

    def arrived(thread: int, turn: int) -> None:
        nonlocal left
        seen[thread].append(turn)
        left -= 1
        if not left:
            loop.stop()

    def hand_over(thread: int) -> None:
        for turn in range(each):
            loop.call_soon_threadsafe(arrived, thread, turn)

    running = [threading.Thread(target=hand_over, args=(number,)) for number in range(threads)]
    try:
        for one in running:
            one.start()
        loop.run_forever()
        for one in running:
            one.join()
        assert all(found == list(range(each)) for found in seen.values())
    finally:
        loop.close()


def test_every_hand_over_wakes_a_loop_that_sleeps(make_loop: MakeLoop) -> None:
    """One at a time, each when the loop has gone to sleep, or is about to."""
    loop = make_loop()
    turns = 2000
    arrived = threading.Semaphore(0)

    def hand_over() -> None:
        for _ in range(turns):
            loop.call_soon_threadsafe(arrived.release)
            assert arrived.acquire(timeout=HANG_S / 3)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=hand_over)
    try:
        thread.start()
        loop.run_forever()
    finally:
        thread.join()
        loop.close()


def test_two_loops_call_each_other(make_loop: MakeLoop) -> None:
    loops = [make_loop(), make_loop()]
    turns = 3000
    ended = threading.Barrier(2)

    def step(left: int) -> None:
        if left:
            loops[left % 2].call_soon_threadsafe(step, left - 1)
        else:
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)

    def body(number: int) -> None:
        try:
            loops[number].run_forever()
            ended.wait(HANG_S / 2)
        finally:
            loops[number].close()

    loops[0].call_soon_threadsafe(step, turns)
    in_threads(2, body)


def test_a_future_of_another_loop_is_awaited_by_coroutines_in_threads(make_loop: MakeLoop) -> None:
    loop = make_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def double(number: int) -> int:
        await timer(0.0001)
        return number * 2

    try:
        def body(number: int) -> list[int]:
            return [asyncio.run_coroutine_threadsafe(double(number), loop).result(HANG_S / 3)
                    for _ in range(100)]

        for number, found in enumerate(in_threads(4, body)):
            assert found == [number * 2] * 100
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_executors_come_back_to_the_loop(make_loop: MakeLoop) -> None:
    loop = make_loop()

    async def body() -> None:
        found = await asyncio.gather(*(asyncio.to_thread(pow, 2, number) for number in range(200)))
        assert found == [2**number for number in range(200)]
        await loop.shutdown_default_executor()

    try:
        loop.run_until_complete(asyncio.wait_for(body(), HANG_S / 2))
    finally:
        loop.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_process_has_loops_of_its_own() -> None:
    """The parent's loop is left as it is by what the child does, also with that very loop."""
    loop = our_loop()
    try:
        loop.run_until_complete(timer(0.001))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)
                other = our_loop()
                other.run_until_complete(timer(0.001))
                other.close()
                loop.run_until_complete(timer(0.001))
                loop.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        seen: list[int] = []
        loop.call_later(0.001, seen.append, 1)
        loop.run_until_complete(timer(0.02))
        assert seen == [1]
    finally:
        loop.close()
