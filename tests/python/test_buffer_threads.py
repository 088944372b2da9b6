# SPDX-License-Identifier: Apache-2.0
"""A buffer between threads: what blocks, what ends that, and what is shared."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import erlang
import pytest
import streams
from conftest import wait_until
from erlang import BodyTruncated, BufferAborted, PyBuffer
from streams import wait_for_reader
from test_channel_threads import Result

READS: dict[str, Callable[[PyBuffer], object]] = {
    "read": lambda buffer: buffer.read(),
    "read(n)": lambda buffer: buffer.read(5),
    "read1": lambda buffer: buffer.read1(),
    "readline": lambda buffer: buffer.readline(),
    "readlines": lambda buffer: buffer.readlines(),
    "readinto": lambda buffer: buffer.readinto(bytearray(5)),
    "readinto1": lambda buffer: buffer.readinto1(bytearray(5)),
    "next": lambda buffer: next(buffer, b""),
    "list": list,
}


@pytest.fixture(params=list(READS))
def blocking(request: pytest.FixtureRequest) -> Callable[[PyBuffer], object]:
    return READS[request.param]


def test_a_blocked_read_ends_with_the_stream(blocking: Callable[[PyBuffer], object]) -> None:
    for end in (streams.close, PyBuffer.close):
        buffer = streams.new_stream()
        reader = Result(blocking, buffer)
        wait_for_reader(buffer)
        end(buffer)
        assert reader.get() in (b"", 0, [])


def test_a_blocked_read_raises_when_the_writer_gives_up(
    blocking: Callable[[PyBuffer], object],
) -> None:
    buffer = streams.new_stream(content_length=10)
    reader = Result(blocking, buffer)
    wait_for_reader(buffer)
    streams.abort(buffer, "gone")
    with pytest.raises(BufferAborted):
        reader.get()


def test_a_known_length_is_waited_for_and_no_more() -> None:
    buffer = streams.new_stream(content_length=8)
    for take, expected in ((lambda b: b.read(5), b"01234"), (lambda b: b.read(), b"567")):
        reader = Result(take, buffer)
        wait_for_reader(buffer)
        for byte in expected[:-1]:
            streams.write(buffer, bytes([byte]))
        assert readers_still_waiting(buffer, reader)
        streams.write(buffer, expected[-1:])
        assert reader.get() == expected
    assert buffer.read(1) == b""


def readers_still_waiting(buffer: PyBuffer, reader: Result) -> bool:
    wait_for_reader(buffer)
    return reader.is_alive()


def test_an_unknown_length_gives_the_first_byte_that_comes() -> None:
    buffer = streams.new_stream()
    reader = Result(buffer.read, 100)
    wait_for_reader(buffer)
    streams.write(buffer, b"a")
    assert reader.get() == b"a"


def test_a_line_is_waited_for() -> None:
    buffer = streams.new_stream()
    reader = Result(buffer.readline)
    for piece in (b"one ", b"li", b"ne"):
        wait_for_reader(buffer)
        streams.write(buffer, piece)
    wait_for_reader(buffer)
    streams.write(buffer, b"\nrest")
    assert reader.get() == b"one line\n"
    assert Result(buffer.readline, 3).get() == b"res"


def test_an_early_end_while_waiting_leaves_what_is_there() -> None:
    buffer = streams.of(b"abc", closed=False, content_length=10)
    reader = Result(buffer.read)
    wait_for_reader(buffer)
    streams.write(buffer, b"de")
    streams.close(buffer)
    with pytest.raises(BodyTruncated) as caught:
        reader.get()
    assert caught.value.received == 5 and buffer.tell() == 0
    assert buffer.read1() == b"abcde"


# Bounded streams
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("retains", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("bound", "piece"), [(1, 1), (10, 7), (100_000, 65_536)])
def test_a_read_of_more_than_the_bound_gets_it(
    bound: int, piece: int, known: bool, retains: bool
) -> None:
    data = os.urandom(bound * 20).replace(b"\n", b"x") + b"\n"
    for take in (PyBuffer.read, PyBuffer.readline, lambda b: b"".join(b.readlines())):
        buffer = streams.new_stream(
            content_length=len(data) if known else -1, max_unread=bound, retains=retains
        )
        writer = Result(lambda: (streams.feed(buffer, data, piece), streams.close(buffer))[0])
        assert take(buffer) == data
        assert writer.get() == "ok"


def test_a_writer_waits_for_room() -> None:
    buffer = streams.new_stream(max_unread=10)
    assert streams.write(buffer, b"x" * 11) == "too_large"
    assert streams.write(buffer, b"x" * 10) == "ok"
    assert streams.write(buffer, b"y") == "full"
    writer = Result(streams.feed, buffer, b"y" * 5, 5)
    wait_until(lambda: streams.writers_waiting(buffer) == 1)
    assert buffer.read(4) == b"xxxx"
    assert streams.writers_waiting(buffer) == 1
    assert buffer.read(1) == b"x"
    assert writer.get() == "ok"


def test_a_writer_learns_that_nobody_reads_any_more() -> None:
    buffer = streams.new_stream(max_unread=10)
    channel = erlang.Channel(erlang._native._new_channel())
    channel.send(buffer)  # Keeps the stream, reads nothing.
    streams.write(buffer, b"x" * 10)
    buffer.close()
    assert streams.feed(buffer, b"y", 1) == "closed"


# What ends a wait from outside
# --------------------------------------------------------------------------------------


def test_the_applications_stop_wakes_everybody() -> None:
    buffer = streams.new_stream(content_length=10)
    readers = [Result(blocking, buffer) for blocking in READS.values()]
    wait_for_reader(buffer, len(readers))
    erlang._native._set_stopped(True)
    try:
        for reader in readers:
            with pytest.raises(erlang.ApplicationStopped):
                reader.get()
    finally:
        erlang._native._set_stopped(False)
    assert streams.readers_waiting(buffer) == 0


BLOCKED = """
import erlang, erlang._native as native, os, signal, sys, threading
# What runs in the background starts with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
buffer = native._new_stream(max_unread={bound})
native._stream_write(buffer, b"kept")
def interrupt():
    while native._stream_info(buffer)["readers_waiting"] == 0: pass
    native._stream_write(buffer, b", too")
    while native._stream_info(buffer)["readers_waiting"] == 0: pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try:
    {wait}
except KeyboardInterrupt:
    print(native._stream_info(buffer)["readers_waiting"], buffer.tell(), buffer.read1())
"""


@pytest.mark.parametrize("bound", [0, 6])
@pytest.mark.parametrize(
    "wait", ["buffer.read()", "buffer.readline()", "list(buffer)", "buffer.readlines(3)"]
)
def test_ctrl_c_ends_a_blocked_read_which_has_taken_nothing(wait: str, bound: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(wait=wait, bound=bound)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stdout == "0 0 b'kept, too'\n", result.stderr


def test_an_exception_set_for_a_thread_ends_its_next_wait() -> None:
    buffer = streams.new_stream()
    started, go = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        while not go.is_set():
            pass
        buffer.read()

    thread = Result(wait)
    started.wait()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(ZeroDivisionError)
    )
    go.set()
    with pytest.raises(ZeroDivisionError):
        thread.get()
    assert streams.readers_waiting(buffer) == 0


def test_daemon_threads_that_read_do_not_hold_up_the_end_of_the_program() -> None:
    code = """
import erlang._native as native, threading
waiting = native._new_stream()
busy = native._new_stream(max_unread=1 << 20, retains=False)
block = bytes(1 << 20)
def feed():
    while native._stream_write(busy, block, False, 1 << 20) == "ok": pass
for _ in range(3):
    threading.Thread(target=waiting.read, daemon=True).start()
    threading.Thread(target=lambda: [busy.read(1 << 20) for _ in range(10**9)], daemon=True).start()
threading.Thread(target=feed, daemon=True).start()
while native._stream_info(waiting)["readers_waiting"] < 3 or busy.tell() == 0: pass
print("end")
"""
    for _ in range(5):
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr


# Many threads
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [0, 5_000])
@pytest.mark.parametrize("retains", [False, True])
def test_every_line_goes_to_exactly_one_reader(bound: int, retains: bool) -> None:
    buffer = streams.new_stream(max_unread=bound, retains=retains)
    lines = [b"%d %d\n" % (writer, i) for writer in range(3) for i in range(3_000)]
    per_writer = [lines[at : at + 3_000] for at in (0, 3_000, 6_000)]

    def send(mine: list[bytes]) -> None:
        for line in mine:
            assert streams.feed(buffer, line, 100) == "ok"

    readers = [Result(list, buffer) for _ in range(3)]
    writers = [Result(send, mine) for mine in per_writer]
    for writer in writers:
        writer.get()
    streams.close(buffer)
    taken = [reader.get() for reader in readers]
    assert sorted(line for part in taken for line in part) == sorted(lines)  # type: ignore
    assert buffer.read() == b""


def test_each_byte_is_delivered_once() -> None:
    buffer = streams.new_stream()
    readers = [Result(buffer.read, 5) for _ in range(3)]
    wait_for_reader(buffer, 3)
    streams.write(buffer, b"0123456789")
    streams.close(buffer)
    assert sorted(reader.get() for reader in readers) == [b"", b"01234", b"56789"]  # type: ignore


@pytest.mark.parametrize("by_reference", [False, True])
def test_long_copies_and_searches_leave_the_gil_to_others(by_reference: bool) -> None:
    """Several readers and searchers of pieces longer than what is copied with the GIL."""
    size, count = 1 << 20, 40
    block = os.urandom(size - 1) + b"\n"
    buffer = streams.new_stream(content_length=size * count, max_unread=4 * size, retains=False)

    def read() -> int:
        total = 0
        while piece := buffer.read(size // 2 + 1):
            total += len(piece)
        return total

    def look() -> None:
        while not buffer.at_eof():
            buffer.find(b"\x00nowhere\x00")
            assert len(memoryview(buffer)) <= 6 * size
            buffer.tell()

    threads = [Result(read), Result(read), Result(look), Result(look)]
    assert streams.feed(buffer, block * count, size, by_reference=by_reference) == "ok"
    totals = [thread.get() for thread in threads]
    assert sum(total for total in totals if total is not None) == size * count  # type: ignore


def test_closing_races_with_everything() -> None:
    for turn in range(300):
        buffer = streams.of(b"some\nlines\n", closed=False, retains=bool(turn % 2))
        readers = [Result(read, buffer) for read in (PyBuffer.read, PyBuffer.readline, list)]
        writers = [Result(streams.feed, buffer, b"more\n" * 20, 7), Result(buffer.close)]
        for thread in (*writers, *readers):
            thread.get()
        assert streams.write(buffer, b"x") == "closed"
        assert buffer.read() is not None and buffer.read() == b""


# Memory
# ---------------------------------------------------------------------------------------------


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("by_reference", [False, True])
def test_views_that_are_held_while_data_flows_keep_their_pieces_only(by_reference: bool) -> None:
    """200 MiB pass through, 4 MiB at most ahead, and the last 8 views are kept."""
    piece, count = 1 << 16, 3_200
    block = os.urandom(piece)
    buffer = streams.new_stream(max_unread=4 << 20, retains=False)
    feed = Result(lambda: [streams.feed(buffer, block, piece, by_reference=by_reference)
                           for _ in range(count)])  # fmt: skip
    views: list[memoryview] = []
    before = most = 0
    expected = hashlib.sha256(block).digest()
    for turn in range(count):
        wait_until(lambda: len(buffer) >= piece)
        views = [*views[-7:], memoryview(buffer)]
        assert len(buffer.read(piece)) == piece
        if turn == 400:
            before = resident()
        most = max(most, resident())
    feed.get()
    assert before != 0 and most - before < 24 << 20
    assert hashlib.sha256(views[-1][:piece]).digest() == expected
    assert streams.pinned(buffer) <= piece  # The last one stays until another one comes.


def test_many_small_views_of_long_pieces_cost_little() -> None:
    buffer = streams.new_stream(retains=False)
    long, views = bytes(1 << 20), []
    before = 0
    for turn in range(300):
        streams.write(buffer, long, by_reference=True)
        buffer.read(len(long) - 64)
        views.append(memoryview(buffer))
        buffer.read(64)
        if turn == 20:
            before = resident()
    assert resident() - before < 24 << 20
    assert all(len(view) == 64 for view in views)


def test_a_long_body_that_is_not_retained_is_not_held_twice() -> None:
    code = """
import resource, erlang._native as native
size = 192 << 20
block = b"x" * (1 << 20)
buffer = native._new_stream(content_length=size, retains=False)
for _ in range(size >> 20):
    native._stream_write(buffer, block, True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(buffer.read()) == size
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(result.stdout) < 64
