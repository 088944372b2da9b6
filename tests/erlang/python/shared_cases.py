# SPDX-License-Identifier: Apache-2.0
"""What workers do with shared channels in py_shared_SUITE."""

import asyncio
import ctypes
import gc
import hashlib
import os
import random
import threading

import erlang

kept = []


def echo(source, target):
    """Until the source is closed; how many."""
    count = 0
    target = erlang.Channel(target)
    for message in erlang.Channel(source):
        target.send(message)
        count += 1
    return count


def echo_bytes(source, target):
    count = 0
    target = erlang.ByteChannel(target)
    for message in erlang.ByteChannel(source):
        target.send_bytes(message)
        count += 1
    return count


def receive_all(source):
    return list(erlang.Channel(source))


def receive_one(source):
    return erlang.Channel(source).receive()


def receive_all_on_loop(source):
    async def receive():
        return [message async for message in erlang.Channel(source)]
    return erlang.run(receive())


def send_all(target, first, count):
    target = erlang.Channel(target)
    for number in range(first, first + count):
        target.send(number)
    return count


def send_for_ever(target, size):
    target = erlang.Channel(target)
    number = 0
    while True:
        target.send((os.getpid(), number, b'x' * random.randrange(size)))
        number += 1


def take_for_ever(source):
    for _ in erlang.Channel(source):
        pass


def send_and_end(target):
    """Once sent, nobody here can send any more."""
    erlang.Channel(target).send('last')
    gc.collect()


def try_bytes(source):
    return erlang.ByteChannel(source).try_receive_bytes()


def keep_in_place(source):
    kept.append(erlang.ByteChannel(source).receive_view(30, in_place=True))
    return len(kept[-1])


def keep_in_place_on_loop(source):
    async def receive():
        return await erlang.ByteChannel(source).async_receive_view(in_place=True)
    kept.append(erlang.run(receive()))
    return len(kept[-1])


def hash_kept():
    return hashlib.sha256(kept[-1]).digest()


def release_kept():
    kept.pop().release()


def same(channel):
    return channel


def keep(channel):
    kept.append(channel)


def drop():
    kept.clear()
    gc.collect()


def send_channel(target, channel):
    try:
        erlang.Channel(target).send(channel)
    except ValueError as error:
        return str(error)


def fork_and_use(channel):
    """7: in the child the channel is closed, and may go."""
    other = erlang.Channel(channel)
    child = os.fork()
    if child == 0:
        try:
            other.send(1)
        except erlang.ChannelClosed:
            del other
            gc.collect()
            os._exit(7)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def mappings():
    """Of shared memory."""
    with open('/proc/self/maps') as maps:
        return sum('memfd:penstock' in line for line in maps)


def ranges():
    with open('/proc/self/maps') as maps:
        for line in maps:
            if 'memfd:penstock' in line:
                start, end = line.split()[0].split('-')
                yield int(start, 16), int(end, 16)


def scribble(channel, seed):
    """Writes anything anywhere in what it shares with others but its link, as fast as it can."""
    kept.append(channel)
    chance = random.Random(seed)
    link = max(ranges(), key=lambda part: part[1] - part[0])
    parts = [(ctypes.c_uint64 * ((end - start) // 8)).from_address(start)
             for start, end in ranges() if (start, end) != link]

    def break_rules():
        while True:
            words = chance.choice(parts)
            place = chance.randrange(len(words) if chance.random() < 0.5 else 128)
            words[place] = chance.getrandbits(chance.choice([1, 8, 20, 64]))

    threading.Thread(target=break_rules, daemon=True).start()
    return len(parts)
