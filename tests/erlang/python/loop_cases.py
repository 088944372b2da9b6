# SPDX-License-Identifier: Apache-2.0
"""The Python halves of py_event_loop_SUITE and py_event_loop_pool_SUITE."""

import asyncio
import contextvars
import threading
import types

import erlang

order = []


async def coroutine(value, twice=False):
    await asyncio.sleep(0)
    return value * 2 if twice else value


def plain(value):
    return value


async def sleep(seconds, value=None):  # sleep: what the tests are about
    await asyncio.sleep(seconds)  # sleep: as above
    return value


async def note(value):
    order.append(value)
    await asyncio.sleep(0)


def noted():
    found = order[:]
    order.clear()
    return found


async def fails(text):
    await asyncio.sleep(0)
    raise ValueError(text)


def fails_at_once(text):
    raise KeyError(text)


async def exits(code):
    await asyncio.sleep(0)
    raise SystemExit(code)


def exits_at_once(code):
    raise SystemExit(code)


async def cancels():
    raise asyncio.CancelledError


async def interrupts():
    raise KeyboardInterrupt


class Later:
    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.value


def awaitable(value):
    return Later(value)


def future(value):
    made = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(made.set_result, value)
    return made


def a_task(value):
    return asyncio.get_running_loop().create_task(coroutine(value))


@types.coroutine
def generator(value):
    yield from asyncio.sleep(0).__await__()
    return value


def not_awaitable():
    class Wrong:
        def __await__(self):
            return 5

    return Wrong()


async def nothing():
    pass


def thread():
    return threading.get_ident()


async def loop_of():
    return id(asyncio.get_running_loop())


async def here_and_wait(pid):
    erlang.send(pid, (erlang.atom("here"),))
    try:
        await asyncio.Event().wait()
    finally:
        erlang.send(pid, (erlang.atom("gone"),))


async def stubborn(pid):
    """Is not impressed by being cancelled once."""
    erlang.send(pid, (erlang.atom("here"),))
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        erlang.send(pid, (erlang.atom("gone"),))
    return "late"


def spin(pid):
    erlang.send(pid, (erlang.atom("here"),))
    while True:
        pass


async def spin_in_coroutine(pid):
    await asyncio.sleep(0)
    spin(pid)


def here_and_sleep(pid, seconds):
    erlang.send(pid, (erlang.atom("here"),))
    erlang.sleep(0)
    threading.Event().wait(seconds)


async def to_erlang(name, *args):
    return await erlang.async_call(name, *args)


def to_erlang_at_once(name, *args):
    return erlang.call(name, *args)


async def call_in_coroutine(name, *args):
    await asyncio.sleep(0)
    return erlang.call(name, *args)


def schedule(name, value):
    return erlang.schedule(name, value)


async def schedule_later(name, value):
    await asyncio.sleep(0)
    return erlang.schedule(name, value)


def inline(left):
    return erlang.schedule_inline("loop_cases", "inline", [left - 1]) if left else "done"


async def by_queue(left, done=0):
    if left:
        return erlang.schedule_py("loop_cases", "by_queue", [left - 1], {"done": done + 1})
    return done


def eager(is_eager):
    factory = asyncio.eager_task_factory if is_eager else None
    asyncio.get_running_loop().set_task_factory(factory)


def has_eager():
    return hasattr(asyncio, "eager_task_factory")


variable = contextvars.ContextVar("variable", default=0)


async def own_context(value):
    before = variable.get()
    variable.set(value)
    await asyncio.sleep(0)
    return before, variable.get()


async def name_of_task():
    return asyncio.current_task().get_coro().__qualname__


def not_a_term():
    return [1, object()]


async def not_a_term_later():
    return [1, object()]


async def sleepers(count, seconds):
    await asyncio.gather(*(asyncio.sleep(seconds) for _ in range(count)))  # sleep: as above
    return count


async def run_again():
    try:
        asyncio.run(nothing())
    except RuntimeError as error:
        return str(error)


async def prints(text):
    await asyncio.sleep(0)
    print(text)


def ends_the_loop():
    asyncio.get_running_loop().stop()


def tasks_running():
    return len(asyncio.all_tasks())
