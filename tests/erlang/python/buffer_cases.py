# SPDX-License-Identifier: Apache-2.0
"""Python halves of py_buffer_SUITE."""

import asyncio
import hashlib

from erlang import BufferAborted

held: list[object] = []


def read(buffer):
    return buffer.read()


def read_some(buffer, size):
    return buffer.read1(size)


def digest(buffer):
    summed = hashlib.sha256()
    while chunk := buffer.read(65536):
        summed.update(chunk)
    return summed.hexdigest()


def count(buffer):
    total = 0
    while chunk := buffer.read(65536):
        total += len(chunk)
    return total


def itself(buffers):
    return buffers


def close_and_read(buffer):
    buffer.close()
    rest = buffer.read()
    assert buffer.read() == b""
    return rest


def outcome(buffer):
    try:
        return ["no error", buffer.read()]
    except OSError as error:
        assert isinstance(error, BufferAborted)
        return [type(error).__name__, isinstance(error, ConnectionAbortedError), error.reason,
                getattr(error, "expected", None), getattr(error, "received", None),
                rest(buffer)]


def rest(buffer):
    return buffer.read_nonblock() if len(buffer) else b""


def lines_in_coroutine(buffer):
    async def main():
        count = 0
        async for line in buffer:
            assert line == b"line\n"
            count += 1
        return count

    return asyncio.run(main())


def hold(buffer):
    held.append(buffer)
    return len(buffer)


def hold_view(buffer):
    held.extend([memoryview(buffer), buffer])
    return bytes(held[0])


def held_view():
    return bytes(held[0])


def drop():
    held.clear()


def resident_kib():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise RuntimeError("no VmRSS")
