# SPDX-License-Identifier: Apache-2.0
"""A channel from one thread."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable

import erlang
import pytest
from erlang import Channel, ChannelClosed, _native

NewChannel = Callable[..., Channel]


def test_messages_come_in_order(channel: Channel) -> None:
    for i in range(1000):
        channel.send((i, "x" * (i % 70)))
    assert [channel.receive() for _ in range(1000)] == [(i, "x" * (i % 70)) for i in range(1000)]


@pytest.mark.parametrize(
    "size", [0, 1, 1000, 1023, 1024, 1025, 8_180, 8_192, 8_200, 70_000, 5_000_000]
)
def test_messages_of_every_size_arrive_whole(channel: Channel, size: int) -> None:
    data = bytes(i * 7 % 256 for i in range(min(size, 1000))) * (size // 1000 + 1)
    data = data[:size]
    channel.send(data)
    channel.send((1, data))
    assert channel.receive() == data
    assert channel.receive() == (1, data)


def test_none_is_a_message(channel: Channel) -> None:
    for message in (1, None, 2):
        channel.send(message)
    channel.close()
    assert list(channel) == [1, None, 2]


def test_receive_of_an_empty_channel_times_out(channel: Channel) -> None:
    for timeout in ({"timeout": 0}, {"timeout": 0.01}, {"timeout_ms": 0}, {"timeout_ms": 5}):
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="channel receive timeout"):
            channel.receive(**timeout)
        assert time.monotonic() - start >= timeout.get(
            "timeout", timeout.get("timeout_ms", 0) / 1000
        )
    with pytest.raises(TimeoutError):
        channel.receive(0.001)
    assert _native._waiting(channel) == (0, 0)
    channel.send(1)
    assert channel.receive(timeout=0) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": math.nan}, ValueError),
        ({"timeout_ms": math.nan}, ValueError),
        ({"timeout": "x"}, TypeError),
        ({"timeout_ms": "x"}, TypeError),
        ({"timeout": 1, "timeout_ms": 1}, TypeError),
        ({"nonsense": 1}, TypeError),
    ],
)
def test_a_bad_timeout_is_an_error(
    channel: Channel, arguments: dict[str, object], error: type[Exception]
) -> None:
    channel.send(1)
    with pytest.raises(error):
        channel.receive(**arguments)  # type: ignore[arg-type]
    assert channel.receive() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": None},
        {"timeout": math.inf},
        {"timeout": 1e300},
        {"timeout_ms": -1},
        {"timeout_ms": None},
    ],
)
def test_no_timeout_has_several_spellings(channel: Channel, arguments: dict[str, float]) -> None:
    channel.send(1)
    assert channel.receive(**arguments) == 1


def test_receive_takes_one_positional_argument(channel: Channel) -> None:
    channel.send(1)
    assert channel.receive(1) == 1
    with pytest.raises(TypeError, match="positional"):
        channel.receive(1, 2)  # type: ignore[misc]
    with pytest.raises(TypeError, match="multiple values"):
        channel.receive(1, timeout=1)  # type: ignore[misc]


def test_try_receive_never_waits(channel: Channel) -> None:
    assert channel.try_receive() is None
    channel.send(None)
    channel.send(1)
    assert channel.try_receive() is None
    assert channel.try_receive() == 1
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.try_receive()


def test_a_closed_channel_is_drained_first(channel: Channel) -> None:
    for i in range(3):
        channel.send(i)
    assert not channel.closed
    channel.close()
    channel.close()
    assert channel.closed
    with pytest.raises(ChannelClosed):
        channel.send(3)
    with pytest.raises(ChannelClosed):
        channel.try_send(3)
    assert channel.receive() == 0
    assert channel.try_receive() == 1
    assert channel.receive(0) == 2
    for receive in (channel.receive, channel.try_receive, lambda: channel.receive(0)):
        with pytest.raises(ChannelClosed):
            receive()
    assert list(channel) == []


def test_iteration_ends_and_does_not_close(channel: Channel) -> None:
    channel.send(1)
    channel.send(2)
    first, second = iter(channel), iter(channel)
    assert first is not second and iter(first) is first
    assert next(first) == 1 and next(second) == 2
    assert not channel.closed
    channel.close()
    with pytest.raises(StopIteration):
        next(first)
    with pytest.raises(StopIteration):
        next(first)


def test_a_with_block_closes(new_channel: NewChannel) -> None:
    with new_channel() as channel:
        channel.send(1)
    assert channel.closed and channel.receive() == 1
    with pytest.raises(ZeroDivisionError), channel as same:
        assert same is channel
        1 / 0
    with pytest.raises(ZeroDivisionError), new_channel() as other:
        1 / 0
    assert other.closed


def test_info_counts_bytes_exactly(new_channel: NewChannel) -> None:
    channel = new_channel(1000)
    assert channel.info() == {"size": 0, "max_size": 1000, "closed": False}
    channel.send(b"x" * 10)
    channel.send(1)
    size = len(_native._encode(b"x" * 10)) + len(_native._encode(1))
    assert channel.info()["size"] == size
    channel.close()
    assert channel.info() == {"size": size, "max_size": 1000, "closed": True}
    channel.receive()
    channel.receive()
    assert channel.info()["size"] == 0


def test_a_full_channel_refuses_and_takes_again(new_channel: NewChannel) -> None:
    message = b"x" * 100
    cost = len(_native._encode(message))
    channel = new_channel(3 * cost)
    assert [channel.try_send(message) for _ in range(4)] == [True, True, True, False]
    assert channel.info()["size"] == 3 * cost
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="channel send timeout"):
        channel.send(message, timeout=0.02)
    assert time.monotonic() - start >= 0.02
    with pytest.raises(TimeoutError):
        channel.send(message, 0)
    assert _native._waiting(channel) == (0, 0)
    channel.receive()
    assert channel.try_send(message) and not channel.try_send(1)


def test_a_message_larger_than_the_channel_is_a_value_error(new_channel: NewChannel) -> None:
    channel = new_channel(50)
    for send in (channel.send, channel.try_send, lambda term: channel.send(term, 10)):
        with pytest.raises(ValueError, match="max_size"):
            send(b"x" * 50)
    assert channel.try_send(b"x" * 45)
    assert channel.info()["size"] == 50


def test_what_cannot_be_converted_is_not_sent(channel: Channel) -> None:
    for send in (channel.send, channel.try_send):
        with pytest.raises(TypeError, match=r"\(at \['k'\]\)"):
            send({"k": object()})
    assert channel.info()["size"] == 0
    assert channel.try_receive() is None


def test_send_takes_its_arguments_by_name(channel: Channel) -> None:
    channel.send(term=1, timeout=1)
    assert channel.receive() == 1
    for bad in ({}, {"timeout": 1}, {"term": 1, "x": 2}):
        with pytest.raises(TypeError):
            channel.send(**bad)
    with pytest.raises(ValueError):
        channel.send(1, -1)


@pytest.mark.parametrize("ref", [None, 42, "x", object()])
def test_a_channel_of_no_channel_can_be_made_and_closed_but_not_used(ref: object) -> None:
    channel = Channel(ref)
    channel.close()
    assert channel.closed is True
    assert "no channel" in repr(channel)
    hash(channel)
    for use in (
        channel.receive,
        channel.try_receive,
        channel.async_receive,
        channel.info,
        channel.__anext__,
        lambda: iter(channel),
        lambda: channel.send(1),
        lambda: channel.try_send(1),
    ):
        with pytest.raises(TypeError, match="expected channel reference"):
            use()


def test_wrappers_of_one_channel_are_equal(new_channel: NewChannel) -> None:
    ref = _native._new_channel()
    assert type(ref).__name__ == "PyCapsule"
    one, two, three = Channel(ref), Channel(ref), Channel(Channel(ref))
    assert one == two == three and hash(one) == hash(two) and len({one, two, three}) == 1
    assert one != new_channel() and one != ref and one != 1
    one.send("x")
    assert two.receive() == "x"
    assert Channel(None) != Channel(None)
    nothing = Channel(None)
    assert nothing == nothing


def test_repr_tells_state(channel: Channel) -> None:
    channel.send(b"x" * 95)
    assert "100 bytes" in repr(channel) and "closed" not in repr(channel)
    channel.close()
    assert "closed" in repr(channel)


def test_a_channel_may_be_subclassed_and_weakly_referenced() -> None:
    class Named(Channel):
        def __init__(self, ref: object) -> None:
            self.name = "n"

    channel = Named(_native._new_channel())
    channel.send((channel, 1))
    received, one = channel.receive()
    assert one == 1 and Channel(received) == channel and channel.name == "n"
    reference = weakref.ref(channel)
    plain = weakref.ref(Channel(received))
    assert plain() is None
    assert reference() is channel
    del channel
    assert reference() is None


def test_the_death_of_the_last_sender_ends_a_wait(new_channel: NewChannel) -> None:
    channel = new_channel()
    _native._remove_sender(channel)
    with pytest.raises(ChannelClosed):
        channel.receive()
    assert channel.try_receive() is None  # A sender may come back.
    assert list(channel) == []
    channel.send(1)  # Here it is, and it stays.
    assert channel.receive() == 1
    with pytest.raises(TimeoutError):
        channel.receive(0.01)


def test_a_stopped_application_ends_waits_and_lets_none_begin(new_channel: NewChannel) -> None:
    channel = new_channel(10)
    _native._set_stopped(True)
    try:
        with pytest.raises(erlang.ApplicationStopped):
            channel.receive()
        with pytest.raises(erlang.ApplicationStopped):
            next(iter(channel))
        channel.send(b"12345")
        with pytest.raises(erlang.ApplicationStopped):
            channel.send(b"12345")
        assert channel.receive() == b"12345"  # That is no wait.
    finally:
        _native._set_stopped(False)
    assert _native._waiting(channel) == (0, 0)
    with pytest.raises(TimeoutError):
        channel.receive(0.01)
