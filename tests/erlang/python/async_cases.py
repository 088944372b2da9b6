# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_async_call_SUITE. Each takes the name of a kind of loop first."""

import asyncio
import contextlib
import gc
import inspect
import os
import threading
import warnings

import erlang
from thread_cases import outcome, run_threads

try:
    import uvloop
except ImportError:
    uvloop = None


class OwnIteration(erlang.ErlangEventLoop):
    def _run_once(self):
        super()._run_once()


LOOPS = {'asyncio': asyncio.SelectorEventLoop,
         'erlang': erlang.new_event_loop,
         'own_iteration': OwnIteration,
         'uvloop': uvloop.new_event_loop if uvloop is not None else None}


def loops():
    return [name for name, make in LOOPS.items() if make is not None]


def run(loop_name, coroutine):
    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        return runner.run(coroutine)


async def outcome_of(awaitable):
    try:
        return ('returned', await awaitable)
    except BaseException as error:
        return ('raised', type(error).__name__, str(error))


def one(loop_name, name, *args):
    async def main():
        return await erlang.async_call(name, *args)

    return run(loop_name, main())


def one_after_the_other(loop_name, name, count):
    async def main():
        return [await erlang.async_call(name, number) for number in range(count)]

    return run(loop_name, main())


def gather(loop_name, name, count):
    """How many answers are those of their calls."""
    async def main():
        found = await asyncio.gather(*(erlang.async_call(name, n) for n in range(count)))
        return sum(value == number for number, value in enumerate(found))

    return run(loop_name, main())


def tasks(loop_name, name, count):
    async def main():
        made = [asyncio.create_task(erlang.async_call(name, n), name=str(n)) for n in range(count)]
        return [await task for task in reversed(made)]

    return run(loop_name, main())


def ensured(loop_name, name, value):
    """Every way that asyncio takes an awaitable."""
    async def main():
        loop = asyncio.get_running_loop()
        found = [await asyncio.ensure_future(erlang.async_call(name, value)),
                 await loop.create_task(erlang.async_call(name, value)),
                 await asyncio.wait_for(erlang.async_call(name, value), 20),
                 await asyncio.shield(erlang.async_call(name, value)),
                 next(iter(asyncio.as_completed([erlang.async_call(name, value)])))]
        found[-1] = await found[-1]
        done, _ = await asyncio.wait([loop.create_task(erlang.async_call(name, value))])
        found.append(done.pop().result())
        async with asyncio.timeout(20):
            found.append(await erlang.async_call(name, value))
        found.append(await in_a_coroutine(name, value))
        return found

    return run(loop_name, main())


async def in_a_coroutine(name, value):
    return await erlang.async_call(name, value)


def group(loop_name, name, count):
    async def main():
        async with asyncio.TaskGroup() as members:
            made = [members.create_task(erlang.async_call(name, n)) for n in range(count)]
        return [task.result() for task in made]

    return run(loop_name, main())


def group_with_a_failure(loop_name, name, failing):
    """One fails, so the others are cancelled, which wait for ever."""
    async def main():
        made, texts = [], []
        try:
            async with asyncio.TaskGroup() as members:
                made = [members.create_task(erlang.async_call(name, n)) for n in range(3)]
                members.create_task(erlang.async_call(failing))
        except* RuntimeError as errors:
            texts = [str(error) for error in errors.exceptions]
        return texts, [task.cancelled() for task in made]

    return run(loop_name, main())


def failures(loop_name, *names):
    async def main():
        return await asyncio.gather(*(erlang.async_call(name, 1) for name in names),
                                    return_exceptions=True)

    return [[type(error).__name__, str(error), error.error_class, error.reason]
            for error in run(loop_name, main())]


def lost(loop_name, gate, echo):
    """Two calls that nobody will answer, and one after them."""
    async def main():
        found = await asyncio.gather(*(outcome_of(erlang.async_call(gate, n)) for n in range(2)))
        return found, await erlang.async_call(echo, 5)

    return run(loop_name, main())


def between_other_loops(loop_name, gate, echo):
    """What is asked for on one loop, and what others got meanwhile."""
    loop = LOOPS[loop_name]()
    others = [LOOPS[name]() for name in ('asyncio', 'erlang', loop_name)]

    async def start():
        return [erlang.async_call(gate, 1)]

    async def ask(number):
        return await erlang.async_call(echo, number)

    [first] = loop.run_until_complete(start())
    found = [other.run_until_complete(ask(number)) for number, other in enumerate(others)]
    erlang.call('_between')
    found.insert(0, loop.run_until_complete(first))
    for each in [loop, *others]:
        each.close()
    return found


shared = {}


def on_shared(loop_name, name, value):
    """On a loop that stays, for whichever thread comes next."""
    if loop_name not in shared:
        shared[loop_name] = LOOPS[loop_name]()

    async def main():
        return await erlang.async_call(name, value)

    return shared[loop_name].run_until_complete(main())


def close_shared(loop_name):
    shared.pop(loop_name).close()


def sleep_on(loop_name):
    return run(loop_name, asyncio.sleep(60))  # sleep: it is interrupted


def wrong_calls(loop_name):
    async def main():
        wrong = [lambda: erlang.async_call(), lambda: erlang.async_call(b'echo'),
                 lambda: erlang.async_call('echo', object()),
                 lambda: erlang.async_call('echo', value=1)]

        async def call(function):
            return await function()

        found = [await outcome_of(call(function)) for function in wrong]
        return [each[1] for each in found], await erlang.async_call('echo', 5)

    return run(loop_name, main())


def timeout(loop_name, name, second):
    async def main():
        first = await outcome_of(asyncio.wait_for(erlang.async_call(name, 1), 0.05))
        return first[1], [await erlang.async_call(second, number) for number in range(100)]

    return run(loop_name, main())


def cancel(loop_name, name, second, pid):
    """Cancels a task once its function runs; the function goes on, and its result is dropped."""
    async def main():
        task = asyncio.create_task(erlang.async_call(name, 'dropped'))
        await erlang.async_call(second, 'is running')
        task.cancel()
        first = await outcome_of(task)
        erlang.send(pid, ('cancelled', 1))
        return first[1], [await erlang.async_call(second, number) for number in range(100)]

    return run(loop_name, main())


def cancel_the_call_itself(loop_name, name, second):
    async def main():
        call = erlang.async_call(name, 1)
        was = call.cancel()
        first = await outcome_of(call)
        return was, first[1], await erlang.async_call(second, 2)

    return run(loop_name, main())


def cancel_all(loop_name, name, second, count):
    async def main():
        made = [asyncio.create_task(erlang.async_call(name, n)) for n in range(count)]
        await asyncio.sleep(0)
        for task in made:
            task.cancel()
        found = await asyncio.gather(*made, return_exceptions=True)
        return (sum(isinstance(each, asyncio.CancelledError) for each in found),
                [await erlang.async_call(second, n) for n in range(10)])

    return run(loop_name, main())


def leave_calls(loop_name, name, count):
    """The loop ends with calls in flight."""
    async def main():
        for _ in range(count):
            erlang.async_call(name, 1)

    run(loop_name, main())
    gc.collect()


def leave_a_bare_loop(loop_name, name, second):
    """The same, on a loop that nobody tidies up; and then a new loop on the same thread."""
    loop = LOOPS[loop_name]()

    async def main():
        erlang.async_call(name, 1)
        return await erlang.async_call(second, 2)

    first = loop.run_until_complete(main())
    loop.close()
    del loop
    return first, one(loop_name, second, 3)


def stop_and_go_on(loop_name, name, second):
    """A loop that stands still while answers come finds them later."""
    loop = LOOPS[loop_name]()

    async def begin():
        return [erlang.async_call(name, n) for n in range(10)]

    async def finish(calls):
        return await asyncio.gather(*calls)

    calls = loop.run_until_complete(begin())
    blocking = [erlang.call(second, n) for n in range(10)]
    found = loop.run_until_complete(finish(calls))
    loop.close()
    return found, blocking


def successive_loops(loop_name, name, count):
    return [one(loop_name, name, number) for number in range(count)]


def two_loops_in_turn(loop_name, name, count):
    """Two loops on one thread, alternately, each with a call of its own."""
    made = [LOOPS[loop_name](), LOOPS[loop_name]()]
    found = []
    for number in range(count):
        found.append(made[number % 2].run_until_complete(in_a_coroutine(name, number)))
    for loop in made:
        loop.close()
    return found


def loops_in_threads(loop_name, name, threads, count):
    return run_threads([lambda: gather(loop_name, name, count)] * threads)


def outside(name):
    """Without a loop it is a coroutine, which has not begun."""
    call = erlang.async_call(name, 5)
    is_coroutine = inspect.iscoroutine(call)
    begun = outcome(call.send, None)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        erlang.async_call(name, 6)  # Never awaited.
        gc.collect()
    return is_coroutine, begun[:2], one('asyncio', name, 7)


def made_outside(loop_name, name, value):
    return run(loop_name, erlang.async_call(name, value))


def blocking_and_async(loop_name, blocking, name, count):
    """Answers for the loop come while the thread blocks in another call."""
    async def main():
        calls = [erlang.async_call(name, n) for n in range(count)]
        first = erlang.call(blocking, 'blocking')
        return first, await asyncio.gather(*calls)

    return run(loop_name, main())


def wakeups(loop_name, name):
    """How often a loop comes round while it waits for one call that takes long."""
    rounds = 0

    async def main():
        loop = asyncio.get_running_loop()
        call = asyncio.ensure_future(erlang.async_call(name, 1))
        await asyncio.sleep(0)
        select = loop._selector.select

        def counting(timeout):
            nonlocal rounds
            rounds += 1
            return select(timeout)

        loop._selector.select = counting
        try:
            return await call
        finally:
            loop._selector.select = select

    return run(loop_name, main()), rounds


def interrupted(loop_name, name, second):
    """An interrupt, or the application's stop, ends the loop; the next one works."""
    first = outcome(one, loop_name, name, 1)
    return first[:2], outcome(one, loop_name, second, 2)


def open_files():
    """Of the whole VM, by number."""
    gc.collect()
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
    return found


kept = {}


def keep_thread(key, loop_name, name, second):
    """A thread whose loop outlives this request."""
    def body():
        first = outcome(one, loop_name, name, 1)
        kept[key] = first

    thread = threading.Thread(target=body, daemon=True)
    kept[key] = None
    thread.start()


def kept_result(key):
    return kept[key]
