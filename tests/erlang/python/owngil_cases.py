# SPDX-License-Identifier: Apache-2.0
"""What Python does in py_owngil_SUITE, in interpreters of its own."""

import asyncio
import concurrent.futures
import sys
import threading
import time

import erlang
from erlang import ByteChannel, Channel

kept: list[object] = []


def relay(inbound, outbound):
    """Passes terms on until the end."""
    out = Channel(outbound)
    count = 0
    for term in Channel(inbound):
        out.send(term)
        count += 1
    return count


def announce_then_receive(ref, pid):
    erlang.reply(pid, ('blocked', None))
    return Channel(ref).receive()


def announce_then_await(ref, pid):
    async def main():
        erlang.reply(pid, ('blocked', None))
        return await Channel(ref).async_receive()

    return asyncio.run(main())


def announce_then_loop(pid):
    erlang.reply(pid, ('blocked', None))
    while True:
        pass


def announce_then_call(pid):
    erlang.reply(pid, ('blocked', None))
    return erlang.call('owngil_never')


# Bytes

def make_bytes(size):
    """An object that nobody but this module refers to."""
    kept[:] = [b'x' * size]


def references():
    return sys.getrefcount(kept[0])


def send_kept(ref):
    ByteChannel(ref).send_bytes(kept[0])


def send_bytes(ref, size):
    ByteChannel(ref).send_bytes(bytes(range(256)) * (size // 256))


def receive_is_kept(ref):
    return ByteChannel(ref).receive_bytes() is kept[0]


def receive_bytes(ref):
    return ByteChannel(ref).receive_bytes()


def receive_view(ref):
    kept[:] = [ByteChannel(ref).receive_view()]
    return bytes(kept[0])


def forget():
    kept.clear()


def return_bytes(size):
    return b'y' * size


async def read_buffer(buffer):
    parts = []
    while part := await buffer.aread1(1000):
        parts.append(part)
    return b''.join(parts)


def read_buffer_in_loop(buffer):
    return asyncio.run(read_buffer(buffer))


def read_buffer_blocking(buffer):
    return buffer.read()


def keep(value):
    kept[:] = [value]


def read_kept_line():
    return kept[0].readline()


def await_kept_line():
    async def main():
        return await kept[0].areadline()

    return asyncio.run(main())


def view_kept():
    return bytes(kept[0])


def identity_read(buffer):
    return buffer.peek()


# Calls

def call(name, *args):
    return erlang.call(name, *args)


def call_in_threads(name, count):
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(erlang.call(name, n)))
               for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def call_in_pool(name, count):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda n: erlang.call(name, n), range(count)))


def gather(name, count):
    async def main():
        return await asyncio.gather(*(erlang.async_call(name, n) for n in range(count)))

    return asyncio.run(main())


def identity(value):
    return value


def count_down(n, seen=0):
    if n == 0:
        return seen
    return erlang.schedule_inline('owngil_cases', 'count_down', (n - 1, seen + 1))


def go_on_in_python():
    return erlang.schedule_py('owngil_cases', 'identity', ['later'])


def go_on_in_erlang(name):
    return erlang.schedule(name, 20)


# Threads that are there when the context stops

def start(target, *args):
    thread = threading.Thread(target=target, args=args)
    thread.start()
    kept.append(thread)


def start_receiver(ref, pid):
    start(announce_then_receive, ref, pid)


def start_loop(ref, pid):
    start(announce_then_await, ref, pid)


def start_endless(_ref, pid):
    start(announce_then_loop, pid)


def start_caller(_ref, pid):
    start(announce_then_call, pid)


def start_pool(_ref, pid):
    pool = concurrent.futures.ThreadPoolExecutor(2)
    kept.append(pool)
    pool.submit(int).result()
    erlang.reply(pid, ('blocked', None))


def start_sleeper(_ref, pid):
    start(time.sleep, 3)  # sleep: C code that no exception reaches
    erlang.reply(pid, ('blocked', None))


def start_daemon():
    try:
        threading.Thread(target=int, daemon=True).start()
    except RuntimeError as error:
        return str(error)
    return None


class Last:
    """Tells somebody when it goes, and tries what is not possible any more."""

    def __init__(self, pid, ref):
        self.pid = pid
        self.channel = Channel(ref)

    def __del__(self):
        try:
            self.channel.receive()
        except BaseException as error:
            erlang.reply(self.pid, ('gone', type(error).__name__))


def keep_last(pid, ref):
    last = Last(pid, ref)
    last.itself = last  # Only the collector ends it.
    kept.append(last)
