# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_reentrancy_SUITE and py_deadlock_SUITE."""

import asyncio
import threading
import time

import erlang


def identity(value):
    return value


def call(name, *args):
    return erlang.call(name, *args)


def thread():
    return threading.get_ident()


def threads(name):
    """The thread that calls, and the one that runs what the handler calls."""
    return threading.get_ident(), erlang.call(name)


def down(depth):
    """Through a handler for each level; the sum of all."""
    return 0 if depth == 0 else depth + erlang.call('down', depth - 1)


def along(places):
    """Visits contexts; what each of them was told, in order."""
    return [] if not places else [places[0], *erlang.call('along', places[1:])]


def fall(depth):
    """Fails at the bottom."""
    if depth == 0:
        raise LookupError('bottom')
    return erlang.call('fall', depth - 1)


def catch(depth):
    """Fails at every level, and is caught at every level."""
    if depth == 0:
        return 0
    try:
        erlang.call('catch', depth - 1)
    except RuntimeError as error:
        return depth + error.reason
    return None


def outcome(name, *args):
    try:
        return ('returned', erlang.call(name, *args))
    except BaseException as error:
        return ('raised', type(error).__name__, str(error))


def outcomes(first, second):
    """What becomes of a call, and that the next one is not harmed."""
    return outcome(first), outcome(second, 5)


def linger(seconds):
    """In pieces, so that an interrupt is seen."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.002)  # sleep: what this function is for
    return 'lingered'


gate = threading.Event()


def busy(pid):
    """Runs until it is let go, and does not wait for Erlang meanwhile."""
    gate.clear()
    erlang.send(pid, ('busy', 1))
    while not gate.wait(0.005):
        pass
    return 0


def let_go():
    gate.set()


def async_calls(name, count):
    """Calls of coroutines whose handlers call back into the context of the loop."""
    async def main():
        return await asyncio.gather(*(erlang.async_call(name, n) for n in range(count)))

    return asyncio.run(main())


def blocking_in_a_coroutine(name, value):
    """The loop stands still, the thread does not."""
    async def main():
        before = asyncio.ensure_future(erlang.async_call(name, value + 1))
        blocking = erlang.call(name, value)
        return blocking, await before

    return asyncio.run(main())


def new_loop():
    """May be asked for inside of a coroutine that waits."""
    async def main():
        return await erlang.async_call('echo', 'inner')

    coroutine = main()
    try:
        return asyncio.run(coroutine)
    except RuntimeError as error:
        coroutine.close()
        return str(error)
