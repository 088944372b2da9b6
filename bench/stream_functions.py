# SPDX-License-Identifier: Apache-2.0
"""The Python ends of bench/erlang_to_python.escript."""

import asyncio

from erlang.channel import Channel, reply


def drain(ref, count):
    for message in Channel(ref):
        count -= 1
        if not count:
            break
    return count


def drain_async(ref, count):
    async def run(left):
        async for message in Channel(ref):
            left -= 1
            if not left:
                break
        return left

    return asyncio.run(run(count))


def replies(pid, count):
    for number in range(count):
        reply(pid, ("n", number))
