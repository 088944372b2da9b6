# SPDX-License-Identifier: Apache-2.0
"""What Python does in the suites of worker processes."""

import asyncio
import ctypes
import os
import random
import re
import signal
import threading
from pathlib import Path

import erlang


def identity(value):
    return value


def pid():
    return os.getpid()


def spin():
    while True:
        pass


def crash():
    ctypes.string_at(0)


def die(number):
    os.kill(os.getpid(), number)
    signal.pause()


def leave(status):
    os._exit(status)


def call_in_threads(name, count):
    """What `name` returns for each of as many threads."""
    found = [None] * count

    def run(place):
        found[place] = erlang.call(name, place)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


async def gather(name, count):
    return await asyncio.gather(*(erlang.async_call(name, place) for place in range(count)))


def gather_in_loop(name, count):
    return erlang.run(gather(name, count))


async def loop_name():
    return type(asyncio.get_running_loop()).__name__


def loop_of_asyncio():
    return asyncio.run(loop_name())


async def run_subprocess():
    # A sanitizer's library is not for the shell.
    process = await asyncio.create_subprocess_exec('/bin/sh', '-c', 'echo heard; exit 3', env={},
                                                   stdout=asyncio.subprocess.PIPE)
    heard, _ = await process.communicate()
    return process.returncode, heard.decode()


def subprocess_of_loop():
    return erlang.run(run_subprocess())


def call_too_deep(name):
    """An argument that is just deep enough to leave here, and too deep to arrive."""
    value = 1
    for _ in range(9999):
        value = [value]
    try:
        erlang.call(name, value)
    except (RuntimeError, ValueError):
        return None
    raise AssertionError('it returned')


def tell(to, value):
    erlang.send(to, (os.getpid(), value))


def tell_name(name, value):
    erlang.send(erlang.whereis(name), value)


def is_registered(name):
    return erlang.whereis(name) is not None


def send_own_channel(to):
    """An unshared channel is refused."""
    try:
        erlang.send(to, erlang.ByteChannel())
    except ValueError as error:
        return str(error)
    return None


def fork_on():
    """Both processes return."""
    return os.fork()


def shared_memory():
    """Where the segment of the link is mapped."""
    maps = Path('/proc/self/maps').read_text()
    start, end = re.search(r'^(\w+)-(\w+) rw-s .*memfd:penstock', maps, re.M).groups()
    return int(start, 16), int(end, 16)


def scribble(seed):
    """Breaks every rule of the shared memory while messages go through it."""
    start, end = shared_memory()
    chance = random.Random(seed)
    words = (ctypes.c_uint64 * ((end - start) // 8)).from_address(start)
    ring = (512 + 512 + (1 << 20)) // 8  # That to Erlang; its tail is at 128.

    def break_rules():
        while True:
            place = chance.choice([ring + 16, ring + chance.randrange(64), chance.randrange(256),
                                   chance.randrange(len(words))])
            words[place] = chance.getrandbits(chance.choice([8, 20, 64]))

    threading.Thread(target=break_rules, daemon=True).start()
    while True:
        erlang.whereis('nobody')
