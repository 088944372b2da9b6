# SPDX-License-Identifier: Apache-2.0
"""A buffer in one thread: what each method takes, and how it ends."""

from __future__ import annotations

import ctypes
import gc
import io
import pickle
import sys
import weakref
from collections.abc import Callable

import erlang
import pytest
import streams
from erlang import BodyTruncated, BufferAborted, Channel, PyBuffer, _native

create = PyBuffer._test_create  # type: ignore[attr-defined]
NewChannel = Callable[..., Channel]


# The object
# ------------------------------------------------------------------------------------------


def test_a_buffer_is_not_made_in_python() -> None:
    with pytest.raises(TypeError, match="cannot create 'erlang.PyBuffer' instances"):
        PyBuffer()
    with pytest.raises(TypeError):
        type("Sub", (PyBuffer,), {})
    with pytest.raises(TypeError):
        pickle.dumps(create(b""))


def test_a_buffer_crosses_messages_and_stays_the_same_stream(new_channel: NewChannel) -> None:
    channel = new_channel()
    buffer = create(b"hello world")
    channel.send({"wsgi.input": buffer, "again": [buffer]})
    message = channel.receive()
    other = message["wsgi.input"]
    assert type(other) is PyBuffer
    assert other == buffer == message["again"][0] and other is not buffer
    assert hash(other) == hash(buffer) and len({buffer, other}) == 1
    assert other.read(6) == b"hello "
    assert buffer.tell() == 6 and buffer.read(5) == b"world"
    assert create(b"hello world") != buffer and buffer != b"hello world"


def test_a_queued_message_keeps_the_buffer_alive(new_channel: NewChannel) -> None:
    channel = new_channel()
    buffer = create(b"kept")
    channel.send(buffer)
    del buffer
    gc.collect()
    assert channel.receive().read() == b"kept"


def test_a_stranger_cannot_name_a_buffer() -> None:
    wire = _native._encode(create(b"x"))
    with pytest.raises(ValueError):
        _native._decode(wire)


def test_weak_references_end_with_the_buffer() -> None:
    buffer = create(b"x")
    reference = weakref.ref(buffer)
    assert reference() is buffer
    del buffer
    assert reference() is None


def test_creating_one_for_tests() -> None:
    assert create(b"abc").read() == b"abc"
    assert create(bytearray(b"abc"), 3).read(10) == b"abc"
    assert create(data=memoryview(b"abc"), content_length=5).read(2) == b"ab"
    assert create(b"abc", -1).read(10) == b"abc"
    with pytest.raises(ValueError):
        create(b"abc", 2)
    with pytest.raises(TypeError):
        create("abc")


def test_what_it_says_about_itself() -> None:
    buffer = create(b"abc")
    assert "3 bytes unread" in repr(buffer)
    assert len(buffer) == buffer.readable_amount() == 3 and bool(buffer)
    assert buffer.read() == b"abc"
    assert len(buffer) == buffer.readable_amount() == 0 and not bool(buffer)
    assert (buffer.readable(), buffer.writable(), buffer.seekable()) == (True, False, True)
    assert buffer.isatty() is False and buffer.flush() is None  # type: ignore[func-returns-value]
    assert not streams.new_stream(retains=False).seekable()
    with pytest.raises(io.UnsupportedOperation):
        buffer.fileno()


# Reading
# -----------------------------------------------------------------------------------------


def test_reads_take_exactly_bytes() -> None:
    buffer = create(b"some\nlines\nand more")
    results: list[object] = [buffer.read(1), buffer.read1(1), buffer.read_nonblock(1)]
    results += [buffer.peek(), buffer.readline(), next(buffer), buffer.readall(), buffer.read()]
    assert all(type(result) is bytes for result in results)
    lines = create(b"a\nb").readlines()
    assert type(lines) is list and [type(line) for line in lines] == [bytes, bytes]


def test_a_known_length_fills_a_sized_read() -> None:
    buffer = streams.of(b"abc", b"def", b"gh", closed=False, content_length=8)
    assert [buffer.read(4), buffer.read(4), buffer.read(4), buffer.read()] == [
        b"abcd", b"efgh", b"", b"",
    ]  # fmt: skip


def test_an_unknown_length_gives_what_is_there() -> None:
    buffer = streams.of(b"abc", b"def", closed=False)
    assert buffer.read(4) == b"abcd"
    assert buffer.read(4) == b"ef"
    streams.write(buffer, b"g")
    streams.close(buffer)
    assert [buffer.read(4), buffer.read(4), buffer.read()] == [b"g", b"", b""]


@pytest.mark.parametrize("size", [-1, None, -5])
def test_reading_everything(size: int | None) -> None:
    for buffer in (create(b"abc"), streams.of(b"a", b"b", b"c")):
        assert buffer.read(size) == b"abc"
        assert buffer.read(size) == b""


def test_sizes_are_accepted_as_io_does() -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    assert create(b"abc").read(size=2) == b"ab"
    assert create(b"abc").read1(size=2) == b"ab"
    assert create(b"abc").read_nonblock(size=2) == b"ab"
    assert create(b"abc").readline(Two()) == b"ab"
    assert create(b"a\nb\nc").readlines(hint=2) == [b"a\n"]
    assert create(b"abc").peek(size=2) == b"ab"
    assert create(b"abc").read(Two()) == b"ab"
    for wrong in ("2", 2.0, b"2"):
        with pytest.raises(TypeError):
            create(b"abc").read(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        create(b"abc").read(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        create(b"abc").read(1, size=2)  # type: ignore[misc]
    with pytest.raises(OverflowError):
        create(b"abc").read(2**64)


def test_zero_bytes_are_there_at_once() -> None:
    buffer = streams.new_stream()
    assert buffer.read(0) == buffer.read1(0) == buffer.read_nonblock(0) == buffer.readline(0) == b""
    assert buffer.readinto(bytearray()) == buffer.readinto1(bytearray()) == 0
    streams.abort(buffer)
    assert buffer.read(0) == b""


def test_what_never_blocks() -> None:
    buffer = streams.of(b"abc", closed=False)
    assert buffer.peek() == buffer.peek(0) == buffer.peek(-1) == buffer.peek(None) == b"abc"
    assert buffer.peek(2) == b"ab"
    assert buffer.read_nonblock(2) == b"ab"
    assert buffer.read_nonblock() == b"c"
    assert buffer.read_nonblock() == buffer.peek() == b""
    assert not buffer.at_eof()


def test_reading_into_memory() -> None:
    memory = bytearray(4)
    buffer = streams.of(b"abc", b"def", content_length=6)
    assert buffer.readinto(memory) == 4 and memory == b"abcd"
    assert buffer.readinto1(memoryview(memory)[1:]) == 2 and memory == b"aefd"
    assert buffer.readinto(memory) == 0
    for wrong in (b"1234", "text", memoryview(bytearray(4))[::2]):
        with pytest.raises(TypeError, match="read-write bytes-like"):
            buffer.readinto(wrong)  # type: ignore[arg-type]


LINES = b"one\n\ntwo\r\nthree"


def test_lines() -> None:
    expected = [b"one\n", b"\n", b"two\r\n", b"three"]
    assert list(create(LINES)) == create(LINES).readlines() == expected
    assert create(LINES).readlines(None) == create(LINES).readlines(0) == expected
    buffer = create(LINES)
    assert iter(buffer) is buffer
    assert [buffer.readline() for _ in range(6)] == [*expected, b"", b""]
    with pytest.raises(StopIteration):
        next(buffer)


def test_lines_of_every_length_are_whole_bytes_objects() -> None:
    for size in range(1, 300):
        line = bytes(at * 7 % 240 + 11 for at in range(size)) + b"\n"
        buffer = create(line * 3)
        taken = [buffer.readline(), next(buffer), *buffer.readlines()]
        assert taken == [line] * 3
        assert {hash(part) for part in taken} == {hash(line)}
        assert all(sys.getsizeof(part) == sys.getsizeof(line) for part in taken)
        assert ctypes.c_char_p(taken[0]).value == line  # A NUL follows, as C code expects.


def test_lines_of_at_most_a_size() -> None:
    for size in range(1, 8):
        buffer, reference = create(LINES), io.BytesIO(LINES)
        for _ in range(20):
            assert buffer.readline(size) == reference.readline(size)
    for hint in range(1, 20):
        assert create(LINES).readlines(hint) == io.BytesIO(LINES).readlines(hint)


def test_a_line_across_many_pieces() -> None:
    buffer = streams.of(*[b"x" * 1000] * 500, b"\n", b"rest")
    assert buffer.readline() == b"x" * 500_000 + b"\n"
    assert buffer.readline() == b"rest"


# Places
# ------------------------------------------------------------------------------------------


def test_seeking() -> None:
    buffer = create(b"hello world")
    assert buffer.seek(6) == 6 == buffer.tell()
    assert buffer.read(5) == b"world"
    assert buffer.seek(-5, 1) == 6
    assert buffer.seek(offset=-11, whence=2) == 0
    assert buffer.read() == b"hello world"
    assert buffer.seek(0, 2) == 11
    for offset, whence in [(-1, 0), (12, 0), (1, 1), (-12, 1), (1, 2), (-12, 2), (2**70, 0)]:
        with pytest.raises(ValueError, match="positions 0 to 11 only"):
            buffer.seek(offset, whence)
    assert buffer.tell() == 11
    for whence in (3, -1, 2**70):
        with pytest.raises(ValueError, match="whence"):
            buffer.seek(0, whence)
    with pytest.raises(TypeError):
        buffer.seek("0")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        buffer.seek()  # type: ignore[call-arg]


def test_seeking_from_the_end_needs_one() -> None:
    buffer = streams.of(b"abc", closed=False)
    with pytest.raises(ValueError, match="before it is known"):
        buffer.seek(0, 2)
    streams.close(buffer)
    assert buffer.seek(-1, 2) == 2
    announced = streams.of(b"abc", closed=False, content_length=5)
    assert announced.seek(-3, 2) == 2
    with pytest.raises(ValueError, match="positions 0 to 3 only"):
        announced.seek(0, 2)
    streams.close(announced)
    with pytest.raises(ValueError, match="before it is known"):
        announced.seek(-3, 2)


def test_without_retaining_seeks_go_forward_only() -> None:
    buffer = streams.of(b"x" * 10_000, b"y" * 10_000, retains=False)
    assert buffer.seek(9_999) == 9_999
    with pytest.raises(ValueError, match="positions 9999 to 20000 only"):
        buffer.seek(9_998)
    assert buffer.read(2) == b"xy"
    assert buffer.seek(0, 1) == 10_001
    with pytest.raises(ValueError, match="positions 10001 to 20000 only"):
        buffer.seek(0)


def test_finding() -> None:
    buffer = create(b"hello world hello")
    assert buffer.find(b"hello") == 0
    assert buffer.read(6) == b"hello "
    assert buffer.find(b"world") == 0 and buffer.find(b"hello") == 6
    assert buffer.find(sub=b"hello", start=-5) == 6
    assert buffer.find(b"hello", 0, -1) == -1 == buffer.find(b"hello", 7, None)
    assert buffer.find(b"o", None, None) == buffer.find(ord("o")) == 1
    assert buffer.find(memoryview(b"hello")) == buffer.find(bytearray(b"hello")) == 6
    for sub in ("hello", None, 1.5):
        with pytest.raises(TypeError):
            buffer.find(sub)  # type: ignore[arg-type]
    for byte in (-1, 256, 2**70):
        with pytest.raises(ValueError, match=r"range\(0, 256\)"):
            buffer.find(byte)
    with pytest.raises(TypeError):
        buffer.find()  # type: ignore[call-arg]
    assert buffer.tell() == 6


def test_finding_agrees_with_bytes_everywhere() -> None:
    text = b"abaabaaab"
    for cut in range(len(text)):
        buffer = streams.of(text[:cut], text[cut:], closed=False)
        for sub in (b"", b"a", b"ab", b"aab", b"x", b"abaabaaab", b"abaabaaaba", 98):
            for start in (*range(-11, 12), None, -(2**70), 2**70):
                for end in (*range(-11, 12), None, -(2**70), 2**70):
                    expected = text.find(sub, start, end)
                    assert buffer.find(sub, start, end) == expected, (sub, start, end)


def test_finding_across_pieces_of_every_kind() -> None:
    buffer = streams.new_stream()
    for by_reference in (True, False, True, True, False):
        streams.write(buffer, b"." * 9_000 + b"--boun", by_reference=by_reference)
        streams.write(buffer, b"dary", by_reference=by_reference)
    places = []
    at = buffer.find(b"--boundary")
    while at >= 0:
        places.append(at)
        at = buffer.find(b"--boundary", at + 1)
    assert places == [9_000 + 9_010 * i for i in range(5)]


# Views
# ------------------------------------------------------------------------------------------


def test_a_view_shows_what_is_unread_now() -> None:
    buffer = streams.of(b"hello ", b"world", closed=False)
    buffer.read(2)
    view = memoryview(buffer)
    assert (view.readonly, view.format, view.ndim, view.c_contiguous) == (True, "B", 1, True)
    assert view == b"llo world" == bytes(buffer)
    assert buffer.tell() == 2
    assert streams.write(buffer, b"!" * 100_000) == "ok"
    buffer.read1()
    assert view == b"llo world" and len(memoryview(buffer)) == 0
    with pytest.raises(TypeError):
        view[0] = 1
    view.release()


@pytest.mark.parametrize("by_reference", [False, True])
@pytest.mark.parametrize("retains", [False, True])
def test_a_view_outlives_everything(by_reference: bool, retains: bool) -> None:
    buffer = streams.new_stream(retains=retains)
    data = bytes(range(256)) * 200
    streams.write(buffer, data, by_reference=by_reference)
    views = [memoryview(buffer), memoryview(buffer)[100:200]]
    buffer.read(50_000)
    views.append(memoryview(buffer))
    del buffer
    gc.collect()
    assert views[0] == data and views[1] == data[100:200] and views[2] == data[50_000:]


def test_a_view_across_pieces_is_a_copy() -> None:
    data = bytes(range(256)) * 100
    buffer = streams.of(data[:20_000], data[20_000:], closed=False)
    streams.write(buffer, data, by_reference=True)
    assert memoryview(buffer) == data + data


def test_small_views_do_not_keep_large_pieces() -> None:
    buffer = streams.new_stream(retains=False)
    for _ in range(100):
        streams.write(buffer, b"x" * (1 << 20), by_reference=True)
        buffer.read((1 << 20) - 64)
        assert streams.pinned(buffer) == 1 << 20
        small = memoryview(buffer)
        buffer.read(64)
        assert type(small.obj) is bytes and len(small) == 64
    assert streams.write(buffer, b"") == "ok"


def test_a_view_can_be_hashed_and_written_out() -> None:
    buffer = create(b"x" * 10_000)
    assert hash(memoryview(buffer)) == hash(b"x" * 10_000)
    sink = io.BytesIO()
    sink.write(buffer)
    assert sink.getvalue() == b"x" * 10_000
    with pytest.raises(TypeError):
        io.BytesIO(b"abc").readinto(buffer)


# The end
# ------------------------------------------------------------------------------------------


def test_closing_in_python() -> None:
    buffer = streams.of(b"abc", closed=False, content_length=10)
    assert buffer.closed is False
    assert buffer.close() is None  # type: ignore[func-returns-value]
    buffer.close()
    assert buffer.closed is True
    assert streams.write(buffer, b"x") == "closed"
    assert buffer.read(2) == b"ab"
    assert not buffer.at_eof()
    assert buffer.read() == b"c"
    assert buffer.read() == buffer.readline() == b"" and buffer.at_eof()


def test_a_with_block_closes_also_after_an_error() -> None:
    with create(b"abc", 5) as buffer:
        assert buffer.read(1) == b"a" and not buffer.closed
    assert buffer.closed and buffer.read() == b"bc"
    with pytest.raises(KeyError), create(b"abc") as buffer:
        raise KeyError
    assert buffer.closed


def test_the_writer_closing_is_not_closed_here() -> None:
    buffer = streams.of(b"abc")
    assert buffer.closed is False
    assert not buffer.at_eof() and buffer.read() == b"abc" and buffer.at_eof()
    buffer.close()
    assert buffer.closed is True


def test_the_end_of_an_announced_length_is_the_end() -> None:
    buffer = streams.of(b"abc", closed=False, content_length=3)
    assert buffer.read() == b"abc" and buffer.at_eof()
    assert streams.write(buffer, b"d") == "too_long"
    streams.abort(buffer, "late")
    assert buffer.read() == b"" and buffer.at_eof()
    empty = streams.new_stream(content_length=0)
    assert empty.read() == b"" and empty.at_eof()


def takers(count: int) -> list[Callable[[PyBuffer], object]]:
    """What needs more than the `count` bytes of no line that are there."""
    return [
        lambda buffer: buffer.read(),
        lambda buffer: buffer.read(count + 1),
        lambda buffer: buffer.readall(),
        lambda buffer: buffer.readline(),
        lambda buffer: buffer.readline(count + 1),
        lambda buffer: next(buffer),
        lambda buffer: buffer.readlines(),
        lambda buffer: buffer.readlines(1),
        lambda buffer: buffer.readinto(bytearray(count + 1)),
    ]


@pytest.mark.parametrize("how", list(streams.ENDS))
def test_what_would_never_come_is_an_error_that_takes_nothing(how: str) -> None:
    buffer = streams.of(b"line\nabc", closed=False, content_length=100)
    buffer.read(5)
    streams.ENDS[how](buffer)
    for take in takers(3):
        with pytest.raises(BufferAborted):
            take(buffer)
        assert buffer.tell() == 5 and len(buffer) == 3
    assert buffer.seek(0) == 0
    assert buffer.readline() == b"line\n"
    with pytest.raises(BufferAborted):
        buffer.readline()
    assert buffer.read(1) == b"a" and buffer.read1() == b"bc"
    nothing_left = [*takers(0), PyBuffer.read1, PyBuffer.read_nonblock, PyBuffer.peek]
    for take in [*nothing_left, PyBuffer.at_eof, lambda b: b.readinto1(bytearray(1))]:
        for _ in range(2):
            with pytest.raises(BufferAborted):
                take(buffer)
    assert bytes(buffer) == b"" and buffer.find(b"x") == -1
    buffer.close()
    assert buffer.read() == b"" and buffer.at_eof()


def test_a_truncated_body_says_how_much_is_missing() -> None:
    buffer = streams.of(b"abc", content_length=10)
    with pytest.raises(BodyTruncated, match="after 3 of 10 bytes") as caught:
        buffer.read()
    error = caught.value
    assert (error.expected, error.received, error.reason) == (10, 3, "truncated")
    assert isinstance(error, BufferAborted) and isinstance(error, OSError)


@pytest.mark.parametrize("reason", ["tcp_closed", ("reset", 104), [1, {"k": b"\xff"}], None])
def test_an_abort_carries_its_reason(reason: object) -> None:
    buffer = streams.of(b"abc", closed=False)
    streams.abort(buffer, reason)
    streams.close(buffer)
    streams.abort(buffer, "second")
    with pytest.raises(BufferAborted) as caught:
        buffer.read()
    error = caught.value
    assert error.reason == reason and type(error) is BufferAborted
    assert isinstance(error, ConnectionAbortedError)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.reason == reason and str(copy) == str(error)


def test_an_abort_may_have_no_reason() -> None:
    buffer = streams.new_stream()
    streams.abort(buffer)
    with pytest.raises(BufferAborted) as caught:
        buffer.read(1)
    assert caught.value.reason is None
    assert BufferAborted().reason is None and BodyTruncated("x").expected is None


def test_a_body_beyond_the_limit_is_an_error() -> None:
    buffer = streams.new_stream(limit=5)
    assert streams.write(buffer, b"1234") == "ok"
    assert streams.write(buffer, b"56") == "limit"
    assert streams.write(buffer, b"5") == "closed"
    with pytest.raises(BufferAborted) as caught:
        buffer.read()
    assert caught.value.reason == "limit"
    assert buffer.read_nonblock() == b"1234"


def test_a_forged_length_allocates_nothing() -> None:
    buffer = streams.of(b"abc", closed=False, content_length=2**62)
    small = sys.getsizeof(buffer)
    assert small < 200
    streams.close(buffer)
    for size in (-1, 10**12, 2**62, 2**63 - 1):
        with pytest.raises(BodyTruncated):
            buffer.read(size)
    assert buffer.read1(10**12) == b"abc"


def test_exports() -> None:
    assert erlang.PyBuffer is PyBuffer is _native.PyBuffer
    assert issubclass(erlang.BodyTruncated, erlang.BufferAborted)
