# SPDX-License-Identifier: Apache-2.0
"""A byte channel from one thread."""

from __future__ import annotations

import array
import math
import time
import weakref
from collections.abc import Callable, Iterator

import erlang
import erlang.byte_channel
import pytest
from conftest import data_waiters, room_waiters
from erlang import ByteChannel, ByteChannelClosed, Channel, ChannelClosed, _native
from hypothesis import given, settings
from hypothesis import strategies as st

NewByteChannel = Callable[..., ByteChannel]

KIB = 1024
# Around what fits inside a message object, travels by pointer, by reference, or without the GIL.
SIZES = [0, 1, 1023, 1024, 1025, 8191, 8192, 8193, 65_536, (1 << 20) - 1, 1 << 20, 5_000_000]


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def test_messages_come_in_order(byte_channel: ByteChannel) -> None:
    sent = [b"%d" % i * (i % 70) for i in range(1000)]
    for data in sent:
        assert byte_channel.send_bytes(data) is True
    assert [byte_channel.receive_bytes() for _ in sent] == sent


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size_arrive_whole(
    byte_channel: ByteChannel, kind: Callable[[bytes], bytes], size: int
) -> None:
    data = pattern(size)
    byte_channel.send_bytes(kind(data))
    assert byte_channel.info()["size"] == size
    received = byte_channel.receive_bytes()
    assert type(received) is bytes and received == data
    byte_channel.send_bytes(kind(data))
    assert byte_channel.receive_view() == data
    assert byte_channel.info() == {"size": 0, "max_size": 0, "closed": False, "pinned": 0}


def test_an_empty_message_is_a_message(byte_channel: ByteChannel) -> None:
    for data in (b"a", b"", b"b"):
        byte_channel.send_bytes(data)
    assert byte_channel.receive_bytes() == b"a"
    assert byte_channel.try_receive_bytes() == b""
    byte_channel.send_bytes(b"")
    byte_channel.close()
    assert list(byte_channel) == [b"b", b""]


def test_every_bytes_like_object_can_be_sent(byte_channel: ByteChannel) -> None:
    class Sub(bytes):
        pass

    numbers = array.array("i", [1, 2, 3])
    sendable = [Sub(pattern(9000)), numbers, memoryview(b"abcdef")[2:4], bytearray(b"")]
    for data in sendable:
        byte_channel.send_bytes(data)  # type: ignore[arg-type]
        assert byte_channel.receive_bytes() == bytes(data)
    byte_channel.send_bytes(pattern(20_000))
    byte_channel.send_bytes(byte_channel.receive_view())
    assert byte_channel.receive_bytes() == pattern(20_000)


@pytest.mark.parametrize(
    "data", ["text", 1, None, [1], object(), memoryview(b"abcdef")[::2]], ids=repr
)
def test_what_is_not_bytes_is_a_type_error_and_not_sent(
    byte_channel: ByteChannel, data: object
) -> None:
    for send in (byte_channel.send_bytes, byte_channel.try_send_bytes):
        with pytest.raises(TypeError, match="data must be bytes, bytearray, or memoryview"):
            send(data)  # type: ignore[operator]
    assert byte_channel.info()["size"] == 0
    released = memoryview(b"x")
    released.release()
    with pytest.raises(ValueError, match="released"):
        byte_channel.send_bytes(released)


def test_what_is_changed_after_the_send_does_not_change_the_message(
    byte_channel: ByteChannel,
) -> None:
    data = bytearray(pattern(100_000))
    byte_channel.send_bytes(data)
    data[:] = bytes(100_000)
    data.extend(b"x")  # No buffer is held.
    assert byte_channel.receive_bytes() == pattern(100_000)


def test_large_bytes_come_back_as_the_same_object(byte_channel: ByteChannel) -> None:
    data = pattern(8 * KIB)
    byte_channel.send_bytes(data)
    assert byte_channel.info() == {
        "size": 8 * KIB, "max_size": 0, "closed": False, "pinned": 8 * KIB,
    }
    assert byte_channel.receive_bytes() is data
    assert byte_channel.info()["pinned"] == 0


def test_a_binary_of_erlang_is_copied_and_let_go(byte_channel: ByteChannel) -> None:
    for size in (8192, 1 << 20):
        assert _native._send_foreign(byte_channel, pattern(size))
        assert _native._foreign_living() == 1
        assert byte_channel.receive_bytes() == pattern(size)
        assert _native._foreign_living() == 0


def test_receive_of_an_empty_channel_times_out(byte_channel: ByteChannel) -> None:
    for receive in (
        byte_channel.receive_bytes, byte_channel.receive_view, byte_channel.receive_many,
    ):
        for timeout in ({"timeout": 0}, {"timeout": 0.01}, {"timeout_ms": 0}, {"timeout_ms": 5}):
            start = time.monotonic()
            with pytest.raises(TimeoutError, match="channel receive timeout"):
                receive(**timeout)  # type: ignore[operator]
            waited = timeout.get("timeout", timeout.get("timeout_ms", 0) / 1000)
            assert time.monotonic() - start >= waited
    assert _native._waiting(byte_channel) == (0, 0)
    byte_channel.send_bytes(b"x")
    assert byte_channel.receive_bytes(timeout=0) == b"x"


@pytest.mark.parametrize("method", ["receive_bytes", "receive_view", "receive_many"])
def test_bad_arguments_are_errors_that_name_the_method(
    byte_channel: ByteChannel, method: str
) -> None:
    byte_channel.send_bytes(b"x")
    receive = getattr(byte_channel, method)
    for arguments, error in [
        ({"timeout": -1}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout_ms": math.nan}, ValueError),
        ({"timeout": "x"}, TypeError),
        ({"timeout": 1, "timeout_ms": 1}, TypeError),
        ({"nonsense": 1}, TypeError),
    ]:
        with pytest.raises(error):
            receive(**arguments)
    with pytest.raises(TypeError, match=rf"{method}\(\)"):
        receive(1, 2, 3)
    with pytest.raises(TypeError, match=rf"{method}\(\)"):
        receive(timeout=1, timeout_ms=1)
    for arguments in ({"timeout": None}, {"timeout": math.inf}, {"timeout_ms": -1}):
        assert receive(**arguments) in (b"x", [b"x"])
        byte_channel.send_bytes(b"x")


def test_try_receive_never_waits(byte_channel: ByteChannel) -> None:
    assert byte_channel.try_receive_bytes() is None
    byte_channel.send_bytes(b"x")
    assert byte_channel.try_receive_bytes() == b"x"
    byte_channel.close()
    with pytest.raises(ByteChannelClosed):
        byte_channel.try_receive_bytes()


def test_a_closed_channel_is_drained_first(byte_channel: ByteChannel) -> None:
    for i in range(4):
        byte_channel.send_bytes(b"%d" % i)
    assert not byte_channel.closed
    byte_channel.close()
    byte_channel.close()
    assert byte_channel.closed and byte_channel.info()["closed"]
    for send in (byte_channel.send_bytes, byte_channel.try_send_bytes):
        with pytest.raises(ByteChannelClosed):
            send(b"4")  # type: ignore[operator]
    assert byte_channel.receive_bytes() == b"0"
    assert byte_channel.try_receive_bytes() == b"1"
    assert byte_channel.receive_view(0) == b"2"
    assert byte_channel.receive_many() == [b"3"]
    for receive in (
        byte_channel.receive_bytes,
        byte_channel.try_receive_bytes,
        byte_channel.receive_view,
        byte_channel.receive_many,
        lambda: byte_channel.receive_bytes(0),
    ):
        with pytest.raises(ByteChannelClosed):
            receive()
    assert list(byte_channel) == []


def test_the_two_closed_exceptions_are_unrelated() -> None:
    assert ByteChannelClosed.__bases__ == (Exception,)
    assert not issubclass(ByteChannelClosed, ChannelClosed)
    assert erlang.byte_channel.ByteChannelClosed is ByteChannelClosed
    assert set(erlang.byte_channel.__all__) == {"ByteChannel", "ByteChannelClosed", "ByteView"}


def test_iteration_ends_and_does_not_close(byte_channel: ByteChannel) -> None:
    byte_channel.send_bytes(b"1")
    byte_channel.send_bytes(b"2")
    first, second = iter(byte_channel), iter(byte_channel)
    assert next(first) == b"1" and next(second) == b"2"
    assert not byte_channel.closed
    byte_channel.close()
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(first)


def test_a_with_block_closes(new_byte_channel: NewByteChannel) -> None:
    with new_byte_channel() as channel:
        channel.send_bytes(b"x")
    assert channel.closed and channel.receive_bytes() == b"x"
    with pytest.raises(ZeroDivisionError), new_byte_channel() as other:
        1 / 0
    assert other.closed


def test_a_full_channel_refuses_and_takes_again(new_byte_channel: NewByteChannel) -> None:
    channel = new_byte_channel(300)
    data = b"x" * 100
    assert [channel.try_send_bytes(data) for _ in range(4)] == [True, True, True, False]
    assert channel.info() == {"size": 300, "max_size": 300, "closed": False, "pinned": 0}
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="channel send timeout"):
        channel.send_bytes(data, timeout=0.02)
    assert time.monotonic() - start >= 0.02
    with pytest.raises(TimeoutError):
        channel.send_bytes(data, 0)
    assert channel.try_send_bytes(b"")
    assert _native._waiting(channel) == (0, 0)
    channel.receive_bytes()
    assert channel.try_send_bytes(data) and not channel.try_send_bytes(b"y")


@pytest.mark.parametrize("max_size", [50, 8192, 100_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_max_size_counts_bytes_exactly(
    new_byte_channel: NewByteChannel, kind: Callable[[bytes], bytes], max_size: int
) -> None:
    channel = new_byte_channel(max_size)
    for send in (channel.send_bytes, channel.try_send_bytes, lambda d: channel.send_bytes(d, 10)):
        with pytest.raises(ValueError, match="max_size"):
            send(kind(pattern(max_size + 1)))  # type: ignore[operator]
    assert channel.info()["size"] == 0 and channel.info()["pinned"] == 0
    assert channel.try_send_bytes(kind(pattern(max_size)))
    assert channel.info()["size"] == max_size
    assert channel.receive_bytes() == pattern(max_size)


def test_send_takes_its_arguments_by_name(byte_channel: ByteChannel) -> None:
    byte_channel.send_bytes(data=b"x", timeout=1)
    assert byte_channel.send_many(chunks=[b"y"], timeout=1) == 1
    assert byte_channel.receive_many() == [b"x", b"y"]
    for bad in ({}, {"timeout": 1}, {"data": b"x", "x": 2}):
        with pytest.raises(TypeError, match=r"send_bytes\(\)"):
            byte_channel.send_bytes(**bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"send_many\(\)"):
        byte_channel.send_many()  # type: ignore[call-arg]
    with pytest.raises(ValueError):
        byte_channel.send_bytes(b"x", -1)


# Many at once


def test_send_many_sends_every_element(byte_channel: ByteChannel) -> None:
    chunks: list[bytes] = [pattern(i * 97) for i in range(200)]
    assert byte_channel.send_many(chunks) == 200
    assert byte_channel.send_many(iter([bytearray(b"x"), memoryview(b"y")])) == 2
    assert byte_channel.send_many([]) == byte_channel.send_many(b"") == 0
    assert byte_channel.receive_many(1000) == [*chunks, b"x", b"y"]


def test_an_exception_of_send_many_tells_how_many_were_sent(
    new_byte_channel: NewByteChannel,
) -> None:
    def failing() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise ZeroDivisionError

    def closing() -> Iterator[bytes]:
        yield b"1"
        channel.close()
        yield b"2"

    cases: list[tuple[object, type[Exception], int]] = [
        ([b"1", b"2", b"345678", b"9"], TimeoutError, 2),
        ([b"1", "2", b"3"], TypeError, 1),
        ([b"1", b"x" * 8], ValueError, 1),
        (b"123", TypeError, 0),
        (failing(), ZeroDivisionError, 2),
        (closing(), ByteChannelClosed, 1),
    ]
    for chunks, error, sent in cases:
        channel = new_byte_channel(7)
        with pytest.raises(error) as caught:
            channel.send_many(chunks, timeout=0)  # type: ignore[arg-type]
        assert caught.value.sent == sent  # type: ignore[attr-defined]
        assert channel.info()["size"] == sent
        channel.close()
        assert len(list(channel)) == sent
        assert room_waiters(channel) == 0
    with pytest.raises(TypeError, match="not iterable"):
        new_byte_channel().send_many(1)  # type: ignore[arg-type]


def test_receive_many_takes_what_is_there_up_to_a_count(byte_channel: ByteChannel) -> None:
    byte_channel.send_many(b"%d" % i for i in range(100))
    assert byte_channel.receive_many(1) == [b"0"]
    assert byte_channel.receive_many(max_count=2, timeout=0) == [b"1", b"2"]
    assert byte_channel.receive_many() == [b"%d" % i for i in range(3, 67)]
    assert byte_channel.receive_many(10**30, 0) == [b"%d" % i for i in range(67, 100)]
    for bad, error in [(0, ValueError), (-1, ValueError), ("x", TypeError), (1.5, TypeError)]:
        with pytest.raises(error):
            byte_channel.receive_many(bad)  # type: ignore[arg-type]
    assert data_waiters(byte_channel) == 0


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(
    st.binary(max_size=100),
    st.tuples(st.integers(0, 30_000), st.sampled_from([bytes, bytearray, memoryview])),
), max_size=20), st.integers(1, 10))
def test_what_is_sent_is_received(messages: list[object], batch: int) -> None:
    channel = ByteChannel(_native._new_channel(0, True))
    chunks = [m[1](pattern(m[0])) if isinstance(m, tuple) else m for m in messages]
    assert channel.send_many(chunks) == len(chunks)  # type: ignore[arg-type]
    assert channel.info()["size"] == sum(len(c) for c in chunks)  # type: ignore[arg-type]
    channel.close()
    received: list[bytes] = []
    while True:
        try:
            if len(received) % 2:
                received.append(bytes(channel.receive_view()))
            else:
                received += channel.receive_many(batch)
        except ByteChannelClosed:
            break
    assert received == [bytes(c) for c in chunks]  # type: ignore[call-overload]
    assert channel.info()["size"] == channel.info()["pinned"] == 0


# References


@pytest.mark.parametrize("ref", [None, 42, "x", object(), "terms", "wrapper"])
def test_a_byte_channel_of_something_else_can_be_made_and_closed_but_not_used(ref: object) -> None:
    if ref == "terms":
        ref = _native._new_channel()
    elif ref == "wrapper":
        ref = Channel(_native._new_channel())
    channel = ByteChannel(ref)
    channel.close()
    assert channel.closed is True
    assert repr(channel) == "<erlang.ByteChannel of no channel>"
    hash(channel)
    if isinstance(ref, Channel):
        assert not ref.closed
    for use in (
        channel.receive_bytes,
        channel.try_receive_bytes,
        channel.receive_view,
        channel.receive_many,
        channel.async_receive_bytes,
        channel.async_receive_view,
        channel.info,
        channel.__anext__,
        lambda: iter(channel),
        lambda: channel.send_bytes(b"x"),
        lambda: channel.try_send_bytes(b"x"),
        lambda: channel.send_many([b"x"]),
    ):
        with pytest.raises(TypeError, match="^expected byte channel reference$"):
            use()


def test_a_channel_of_a_byte_channel_cannot_be_used(byte_channel: ByteChannel) -> None:
    for ref in (byte_channel, _native._new_channel(0, True)):
        channel = Channel(ref)
        with pytest.raises(TypeError, match="^expected channel reference$"):
            channel.receive()
        with pytest.raises(TypeError, match="^expected channel reference$"):
            channel.send(1)
        channel.close()
        assert channel != byte_channel
    assert not byte_channel.closed


def test_wrappers_of_one_channel_are_equal(new_byte_channel: NewByteChannel) -> None:
    ref = _native._new_channel(0, True)
    assert type(ref).__name__ == "PyCapsule" and "erlang.byte_channel_ref" in repr(ref)
    one, two, three = ByteChannel(ref), ByteChannel(ref), ByteChannel(ByteChannel(ref))
    assert one == two == three and hash(one) == hash(two) and len({one, two, three}) == 1
    assert one != new_byte_channel() and one != ref and one != 1
    one.send_bytes(b"x")
    assert two.receive_bytes() == b"x"
    assert ByteChannel(None) != ByteChannel(None)


def test_a_byte_channel_goes_through_a_channel(
    byte_channel: ByteChannel, channel: Channel
) -> None:
    channel.send([byte_channel, {"ref": byte_channel}])
    first, second = channel.receive()
    assert "erlang.byte_channel_ref" in repr(first)
    assert ByteChannel(first) == ByteChannel(second["ref"]) == byte_channel
    channel.send(first)
    assert ByteChannel(channel.receive()) == byte_channel


def test_large_bytes_in_terms_travel_by_reference(channel: Channel) -> None:
    large = pattern(8192)
    term = {"large": [large, large], large: bytearray(large), "small": large[1:]}
    channel.send(term)
    assert channel.info()["size"] > 5 * 8192 - 1  # What is referred to counts.
    received = channel.receive()
    assert received == term
    assert received["large"][0] is received["large"][1] is large
    assert received["small"] is not term["small"]


def test_repr_tells_state(byte_channel: ByteChannel) -> None:
    byte_channel.send_bytes(b"x" * 100)
    assert repr(byte_channel).startswith("<erlang.ByteChannel at ")
    assert "100 bytes" in repr(byte_channel) and "closed" not in repr(byte_channel)
    byte_channel.close()
    assert "closed" in repr(byte_channel)


def test_a_byte_channel_may_be_subclassed_and_weakly_referenced() -> None:
    class Named(ByteChannel):
        def __init__(self, ref: object) -> None:
            self.name = "n"

    channel = Named(_native._new_channel(0, True))
    assert channel.name == "n" and channel.send_bytes(b"x")
    reference = weakref.ref(channel)
    assert reference() is channel
    del channel
    assert reference() is None


def test_the_death_of_the_last_sender_ends_a_wait(new_byte_channel: NewByteChannel) -> None:
    channel = new_byte_channel()
    _native._remove_sender(channel)
    for receive in (channel.receive_bytes, channel.receive_view, channel.receive_many):
        with pytest.raises(ByteChannelClosed):
            receive()  # type: ignore[operator]
    assert channel.try_receive_bytes() is None
    channel.send_bytes(b"x")
    assert channel.receive_bytes() == b"x"
    with pytest.raises(TimeoutError):
        channel.receive_bytes(0.01)


def test_a_stopped_application_ends_waits(new_byte_channel: NewByteChannel) -> None:
    channel = new_byte_channel(5)
    _native._set_stopped(True)
    try:
        for receive in (channel.receive_bytes, channel.receive_view, channel.receive_many):
            with pytest.raises(erlang.ApplicationStopped):
                receive()  # type: ignore[operator]
        channel.send_bytes(b"12345")
        with pytest.raises(erlang.ApplicationStopped):
            channel.send_bytes(b"1")
        with pytest.raises(erlang.ApplicationStopped) as caught:
            channel.send_many([b"", b"1"])
        assert caught.value.sent == 1  # type: ignore[attr-defined]
        assert channel.receive_bytes() == b"12345"
    finally:
        _native._set_stopped(False)
    assert _native._waiting(channel) == (0, 0)


def test_methods_have_signatures_and_docstrings() -> None:
    import inspect

    for name in (
        "receive_bytes", "try_receive_bytes", "receive_view", "receive_many",
        "async_receive_bytes", "async_receive_view", "send_bytes", "try_send_bytes", "send_many",
        "close", "info",
    ):
        method = getattr(ByteChannel, name)
        assert method.__doc__
        inspect.signature(method)
