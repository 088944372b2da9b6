# SPDX-License-Identifier: Apache-2.0
"""The Python ends of bench/bytes.escript."""

import asyncio
import io
import time
import types

from erlang import ByteChannel, PyBuffer

LINES = 200_000
LINE = b"x" * 99 + b"\n"
MEBIBYTES = 64
BOUNDARY = b"\r\n--------------------------d74496d66958873e"


def drain(ref, count):
    for message in ByteChannel(ref):
        count -= 1
        if not count:
            break
    return count


def drain_async(ref, count):
    async def run(left):
        async for message in ByteChannel(ref):
            left -= 1
            if not left:
                break
        return left

    return asyncio.run(run(count))


def drain_views(ref, count):
    receive = ByteChannel(ref).receive_view
    for _ in range(count):
        receive()
    return count


def send(ref, size, count):
    channel = ByteChannel(ref)
    message = bytes(size)
    for _ in range(count):
        channel.send_bytes(message)
    return count


def read(buffer, size):
    total = 0
    while piece := buffer.read(size):
        total += len(piece)
    return total


def contents(function):
    """Pieces as an HTTP server would receive them. Text of a form upload, without the boundary but
    at the end: with the bytes it begins with here and there."""
    if "find" not in function:
        return [LINE * 655] * (LINES // 655) + [LINE * (LINES % 655)]
    piece = (b"some text of a form\r\n-- " * 3000)[:65536]
    return [piece] * (MEBIBYTES * 16) + [BOUNDARY]


def all_of(function):
    return b"".join(contents(function))


def readlines(stream):
    readline = stream.readline
    lines = 0
    while readline():
        lines += 1
    return lines


def iterate(stream):
    lines = 0
    for _ in stream:
        lines += 1
    return lines


def specialized(function, make):
    """A copy that CPython's specializing interpreter has seen with what `make` makes, and with
    nothing else: what is compared does not share inline caches."""
    code = function.__code__.replace()
    copy = types.FunctionType(code, globals())
    for _ in range(50):
        copy(make(LINE * 50))
    return copy


def lines_per_second(function, make, stream):
    run = specialized(function, make)
    started = time.perf_counter()
    lines = run(stream)
    elapsed = time.perf_counter() - started
    assert lines == LINES, lines
    return lines / elapsed


def readlines_of_buffer(buffer):
    return lines_per_second(readlines, PyBuffer._test_create, buffer)


def readlines_of_bytesio(buffer):
    return lines_per_second(readlines, io.BytesIO, io.BytesIO(buffer.read()))


def iterate_buffer(buffer):
    return lines_per_second(iterate, PyBuffer._test_create, buffer)


def iterate_bytesio(buffer):
    return lines_per_second(iterate, io.BytesIO, io.BytesIO(buffer.read()))


def found_per_second(find):
    started = time.perf_counter()
    found = find(BOUNDARY)
    assert found == MEBIBYTES * 16 * 65536, found
    return found / (time.perf_counter() - started) / 1e6


def find_in_buffer(buffer):
    return found_per_second(buffer.find)


def find_in_bytesio(buffer):
    """What io.BytesIO offers: its contents (not copied while nobody writes), and bytes.find."""
    stream = io.BytesIO(buffer.read())
    return found_per_second(lambda sub: stream.getvalue().find(sub))
