# SPDX-License-Identifier: Apache-2.0
"""The Python halves of py_async_SUITE and py_context_SUITE."""

import asyncio
import threading

import erlang


async def coroutine(value, twice=False):
    await asyncio.sleep(0)
    return value * 2 if twice else value


def on_which_thread():
    return threading.current_thread() is threading.main_thread(), threading.get_ident()


class Later:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "later"


def awaitable():
    return Later()


def meet(count):
    """Returns when so many are here at the same time."""
    barrier = _barriers.setdefault(count, threading.Barrier(count))
    barrier.wait(60)
    return count


_barriers = {}


async def meet_in_loop(count):
    condition = _conditions.setdefault(count, [0, asyncio.Event()])
    condition[0] += 1
    if condition[0] == count:
        condition[1].set()
    await condition[1].wait()
    return count


_conditions = {}


def to_erlang(value):
    return erlang.schedule("async_suite_double", value)


async def inline(left):
    return erlang.schedule_inline("async_cases", "inline", [left - 1]) if left else "done"


def by_queue(left, done=0):
    if left:
        return erlang.schedule_py("async_cases", "by_queue", [left - 1], {"done": done + 1})
    return done


async def exits():
    raise SystemExit(3)


async def cancelled():
    raise asyncio.CancelledError


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no")


def unspeakable():
    raise Unspeakable


def not_a_term():
    return [1, object()]


async def here_and_wait(pid):
    erlang.send(pid, (erlang.atom("here"),))
    await asyncio.Event().wait()


def sleep_here(pid, seconds):
    erlang.send(pid, (erlang.atom("here"),))
    erlang.sleep(seconds)  # sleep: what the tests end or outlast


def inner():
    raise LookupError("inside")


def outer():
    inner()
