# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_call_storm_SUITE: each calls Erlang in its way, and returns `value`."""

import asyncio
import threading

import erlang


def plain(value):
    return value


def call(value):
    return erlang.call('echo', value)


def calls(value):
    for number in range(5):
        if erlang.call('echo', number) != number:
            return 'wrong'
    return value


def nested(value):
    return erlang.call('back', value)


def failing(value):
    try:
        erlang.call('fail', value)
    except RuntimeError as error:
        return error.reason
    return 'wrong'


def coroutine(value):
    async def main():
        found = await asyncio.gather(*(erlang.async_call('echo', n) for n in range(5)),
                                     return_exceptions=True)
        for number, each in enumerate(found):
            if each != number and not isinstance(each, RuntimeError):
                return 'wrong'
        return await erlang.async_call('echo', value)

    return asyncio.run(main())


def cancelled(value):
    """Leaves calls behind."""
    async def main():
        task = asyncio.create_task(erlang.async_call('echo', 'cancelled'))
        await asyncio.sleep(0)
        task.cancel()
        return await erlang.async_call('echo', value)

    return asyncio.run(main())


def scheduled(value):
    return erlang.schedule('echo', value)


def inline(value, hops=20):
    if hops == 0:
        return value
    return erlang.schedule_inline('storm_cases', 'inline', (value, hops - 1))


def elsewhere(value, hops=5):
    if hops == 0:
        return value
    return erlang.schedule_py('storm_cases', 'elsewhere', (value, hops - 1))


def thread(value):
    found = []
    other = threading.Thread(target=lambda: found.append(erlang.call('echo', value)))
    hook, threading.excepthook = threading.excepthook, lambda _: None
    try:
        other.start()
        other.join()
    finally:
        threading.excepthook = hook
    return found[0]
