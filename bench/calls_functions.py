# SPDX-License-Identifier: Apache-2.0
"""The Python ends of bench/calls.escript."""

import asyncio
import statistics
import threading
import time

import erlang


def latencies(count):
    """Median time of erlang.call, in us."""
    call = erlang.call
    clock = time.perf_counter_ns
    times = []
    for number in range(count):
        begun = clock()
        call("bench_echo", number)
        times.append(clock() - begun)
    return statistics.median(times) / 1000


def thread_latency(count):
    """The same, from a thread of its own."""
    results = []
    thread = threading.Thread(target=lambda: results.append(latencies(count)))
    thread.start()
    thread.join()
    return results[0]


def threads(number, count):
    """Calls per second of several threads."""
    begin = threading.Barrier(number + 1)

    def run():
        call = erlang.call
        call("bench_echo", 0)
        begin.wait()
        for each in range(count):
            call("bench_echo", each)

    all_threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in all_threads:
        thread.start()
    begin.wait()
    begun = time.perf_counter()
    for thread in all_threads:
        thread.join()
    return number * count / (time.perf_counter() - begun)


async def _gather(count):
    begun = time.perf_counter()
    results = await asyncio.gather(*(erlang.async_call("bench_echo", n) for n in range(count)))
    elapsed = time.perf_counter() - begun
    assert results == list(range(count))
    return count / elapsed


def gather(count):
    return asyncio.run(_gather(count))


async def _one_at_a_time(count):
    await erlang.async_call("bench_echo", 0)
    begun = time.perf_counter()
    for number in range(count):
        await erlang.async_call("bench_echo", number)
    return (time.perf_counter() - begun) / count * 1e6


def one_at_a_time(count):
    return asyncio.run(_one_at_a_time(count))


def hop(left):
    return erlang.schedule_inline("calls_functions", "hop", [left - 1]) if left else 0


def hop_by_queue(left):
    return erlang.schedule_py("calls_functions", "hop_by_queue", [left - 1]) if left else 0


def send(pid, count):
    """Time of erlang.send, in us, in bursts that the receiver keeps up with."""
    send_one = erlang.send
    spent = 0
    for burst in range(count // 100):
        begun = time.perf_counter_ns()
        for number in range(100):
            send_one(pid, number)
        spent += time.perf_counter_ns() - begun
        erlang.call("bench_echo", burst)
    return spent / (count // 100 * 100) / 1000


def identity(value):
    return value
