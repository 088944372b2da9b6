# SPDX-License-Identifier: Apache-2.0
"""What workers do with shared buffers in py_shared_buffer_SUITE."""

import asyncio
import gc
import hashlib
import io
import os

import erlang

kept = []


def methods(buffer):
    """What each method says of 'one\\ntwo\\nthree\\nfour' and an end."""
    said = [len(buffer), buffer.readable_amount(), buffer.tell(), buffer.at_eof(),
            buffer.readable(), buffer.writable(), buffer.seekable(), bool(buffer), buffer.closed,
            buffer.peek(3), buffer.find(b'two'), buffer.find(b'none'), buffer.read(2),
            buffer.readline(), buffer.read1(1), buffer.readline(1), buffer.tell()]
    view = memoryview(buffer)
    said += [bytes(view), buffer.seek(0), buffer.readlines(5), buffer.seek(4), next(buffer)]
    memory = bytearray(3)
    said += [buffer.readinto(memory), bytes(memory), buffer.readinto1(memory), bytes(memory[:2]),
             list(buffer), buffer.read(), buffer.read1(), buffer.read_nonblock(), buffer.readline(),
             buffer.at_eof(), buffer.seek(-4, 2), buffer.readall(), bytes(view), buffer.tell()]
    return said + [refusal(lambda: buffer.seek(100)), refusal(lambda: buffer.seek(-1)),
                   refusal(buffer.fileno), buffer.close(), buffer.closed, buffer.read()]


def refusal(function):
    try:
        function()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return None


def in_coroutines(buffer):
    async def main():
        first = await buffer.aread(4)
        line = await buffer.areadline()
        lines = [line async for line in buffer]
        return [first, line, lines, await buffer.aread()]
    return erlang.run(main())


def as_text(environ):
    """As applications wrap it."""
    text = io.TextIOWrapper(io.BufferedReader(environ['wsgi.input']), encoding='utf-8')
    return [line.rstrip() for line in text]


def body(environ):
    return environ['wsgi.input'].read(int(environ['CONTENT_LENGTH']))


def digest(buffer):
    """Of what is read in pieces of many sizes."""
    summed = hashlib.sha256()
    size = 1
    while chunk := buffer.read1(size):
        summed.update(chunk)
        size = size * 3 % 100_003 + 1
    return summed.hexdigest()


def read(buffer):
    return buffer.read()


def read_some(buffer, size):
    return buffer.read1(size)


def keep(buffer, size=0):
    kept.append(buffer)
    return buffer.read1(size)


def drop():
    kept.clear()
    gc.collect()


def may_not_read(buffer):
    return [refusal(read) for read in (buffer.read, buffer.read_nonblock, lambda: next(buffer),
                                       lambda: memoryview(buffer), lambda: buffer.seek(0))]


def read_for_ever(buffer):
    while True:
        buffer.read1(1000)


def same(buffers):
    return buffers


def send_buffer(target, buffer):
    return refusal(lambda: erlang.Channel(target).send(buffer))


def fork_and_read(buffer):
    """7: in the child the buffer is over, and may go."""
    buffer.read1(1)
    child = os.fork()
    if child == 0:
        try:
            buffer.read()
        except erlang.BufferAborted:
            buffer.close()
            del buffer
            gc.collect()
            os._exit(7)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
