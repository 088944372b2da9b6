# SPDX-License-Identifier: Apache-2.0
"""Python halves of py_byte_channel_SUITE."""

import asyncio
import hashlib

from erlang import ByteChannel, ByteView

held: list[ByteView] = []


def echo(inbound, outbound):
    out = ByteChannel(outbound)
    count = 0
    for message in ByteChannel(inbound):
        assert type(message) is bytes
        out.send_bytes(message)
        count += 1
    return count


def digest(channel):
    summed = hashlib.sha256()
    for chunk in ByteChannel(channel):
        summed.update(chunk)
    return summed.hexdigest()


def sum_in_coroutines(ref, workers):
    async def work(channel):
        count = total = 0
        async for message in channel:
            count += 1
            total += int.from_bytes(message, "big")
        return count, total

    async def main():
        channel = ByteChannel(ref)
        return await asyncio.gather(*(work(channel) for _ in range(workers)))

    return [sum(column) for column in zip(*asyncio.run(main()))]


def hold_view(channel):
    held.append(ByteChannel(channel).receive_view())
    return len(held[0])


def hash_held_view():
    return hashlib.sha256(held[0]).hexdigest()


def drop_view():
    held.clear()


def send_tracked(channel, size):
    return ByteChannel(channel).send_bytes(bytes(size))


def keep_slices(ref):
    channel = ByteChannel(ref)
    try:
        while True:
            held.append(channel.receive_view()[100:164])
    except Exception as closed:
        assert type(closed).__name__ == "ByteChannelClosed", closed
    assert all(len(piece) == 64 for piece in held)
    return len(held)


def drop_slices():
    held.clear()


def both_forms(ref):
    return [ref, ByteChannel(ref)]
