# SPDX-License-Identifier: Apache-2.0
"""Views of messages: contents, lifetime, and what they keep alive."""

from __future__ import annotations

import array
import gc
import sys
import weakref
from collections.abc import Callable

import pytest
from conftest import collect, wait_until
from erlang import ByteChannel, ByteView, _native
from hypothesis import given, settings
from hypothesis import strategies as st
from test_byte_channel import pattern

NewByteChannel = Callable[..., ByteChannel]
MIB = 1 << 20


def view_of(data: bytes, channel: ByteChannel | None = None) -> ByteView:
    """A view that owns a copy if data is small, and refers to an Erlang-like binary otherwise."""
    channel = channel or ByteChannel(_native._new_channel(0, True))
    if len(data) < 8192:
        channel.send_bytes(data)
    else:
        assert _native._send_foreign(channel, data)
    return channel.receive_view()


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 1 << 20])
def test_it_is_like_bytes(size: int) -> None:
    data = pattern(size)
    view = view_of(data)
    assert len(view) == size and bytes(view) == view.tobytes() == bytes(memoryview(view)) == data
    assert type(bytes(view)) is bytes and repr(view) == f"<erlang.ByteView of {size} bytes>"
    assert list(view[:500]) == list(data[:500]) and b"".join([view, b"x"]) == data + b"x"
    assert view == data and data == view and not view != data and view == view_of(data)
    assert view == bytearray(data) and view == memoryview(data) and memoryview(view) == data
    assert view != data + b"x" and view != bytearray(data) + b"x"
    assert hash(view) == hash(data) == hash(memoryview(view)) and {data: 1}[view] == 1
    assert view != 1 and view is not None and (view == "x") is False
    with pytest.raises(TypeError):
        view < data  # noqa: B015
    assert bool(view) is bool(data)


def test_it_equals_every_contiguous_buffer_of_the_same_bytes() -> None:
    numbers = array.array("i", range(3000))
    view = view_of(numbers.tobytes())
    assert view == numbers and numbers == view  # type: ignore[comparison-overlap]
    assert view != memoryview(numbers.tobytes() * 2)[::2]
    assert (view == memoryview(bytes(len(view) * 2))[::2]) is False
    changed = bytearray(view)
    changed[-1] ^= 1
    assert view != changed


def test_its_buffer_is_read_only() -> None:
    view = view_of(b"abc")
    memory = memoryview(view)
    assert memory.readonly and memory.format == "B" and memory.shape == (3,)
    assert memory.obj is view
    with pytest.raises(TypeError, match="read-only"):
        memory[0] = 1
    with open("/dev/zero", "rb") as zeros, pytest.raises((TypeError, BufferError)):
        zeros.readinto(view)  # type: ignore[arg-type]
    assert view == b"abc"


def test_elements() -> None:
    data = pattern(9000)
    view = view_of(data)
    for index in (0, 1, 8999, -1, -9000):
        assert view[index] == data[index]
    for index in (9000, -9001, 10**30, -(10**30)):
        with pytest.raises(IndexError):
            view[index]
    for key in ("x", 1.5, None):
        with pytest.raises(TypeError, match="indices"):
            view[key]  # type: ignore[call-overload]
    assert 250 in view and 251 not in view
    with pytest.raises(TypeError):
        view[0] = 1  # type: ignore[index]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([0, 1, 100, 8192, 20_000, 100_000]),
    st.slices(100_000),
    st.slices(30_000),
)
def test_slices_are_those_of_bytes(size: int, outer: slice, inner: slice) -> None:
    data = pattern(size)
    view = view_of(data)
    part = view[outer]
    assert type(part) is ByteView and part == data[outer]
    assert part[inner] == data[outer][inner] and part[::-1] == data[outer][::-1]
    assert hash(part) == hash(data[outer])


def test_it_cannot_be_made_or_subclassed() -> None:
    with pytest.raises(TypeError):
        ByteView()
    with pytest.raises(TypeError):
        type("Sub", (ByteView,), {})
    view = view_of(b"x")
    reference = weakref.ref(view)
    assert reference() is view
    del view
    assert reference() is None


# Lifetime


def test_it_pins_a_large_message_until_the_last_view_goes(byte_channel: ByteChannel) -> None:
    view = view_of(pattern(MIB), byte_channel)
    assert byte_channel.info()["pinned"] == MIB and byte_channel.info()["size"] == 0
    half = view[MIB // 2 :]
    memory = memoryview(half[: MIB // 4])
    del view
    assert _native._foreign_living() == 1 and byte_channel.info()["pinned"] == MIB
    del half
    assert memory == pattern(MIB)[MIB // 2 : MIB // 2 + MIB // 4]
    assert byte_channel.info()["pinned"] == MIB
    del memory
    assert byte_channel.info()["pinned"] == 0 and _native._foreign_living() == 0


def test_a_small_message_pins_nothing(byte_channel: ByteChannel) -> None:
    view = view_of(pattern(8191), byte_channel)
    assert byte_channel.info()["pinned"] == 0 and view == pattern(8191)


def test_bytes_that_python_sent_are_not_copied(byte_channel: ByteChannel) -> None:
    data = pattern(10_000)
    before = sys.getrefcount(data)
    byte_channel.send_bytes(data)
    view = byte_channel.receive_view()
    assert sys.getrefcount(data) == before + 1 and byte_channel.info()["pinned"] == 10_000
    assert view.tobytes() is data and view[:].tobytes() is data
    assert view[1:].tobytes() == data[1:]
    view.release()
    collect()
    assert sys.getrefcount(data) == before and byte_channel.info()["pinned"] == 0


def test_it_outlives_its_channel() -> None:
    channel = ByteChannel(_native._new_channel(0, True))
    reference = weakref.ref(channel)
    views = [view_of(pattern(size), channel) for size in (10, 100_000)]
    channel.close()
    del channel
    assert reference() is None
    assert views[0] == pattern(10) and views[1] == pattern(100_000)
    assert _native._foreign_living() == 1
    del views
    assert _native._foreign_living() == 0


@pytest.mark.parametrize("of", [MIB, 16_384, 8192])
def test_only_slices_that_are_large_enough_share_memory(byte_channel: ByteChannel, of: int) -> None:
    least = max(of // 4, 4096)
    for size, shared in ((least, True), (least - 1, False), (of, True), (0, False)):
        part = view_of(pattern(of), byte_channel)[:size]
        assert _native._foreign_living() == int(shared)
        assert byte_channel.info()["pinned"] == (of if shared else 0)
        assert part == pattern(of)[:size]
        del part
    # What counts is the whole that is kept, not the slice that is sliced.
    part = view_of(pattern(of), byte_channel)[: max(of // 3, 4096)]
    part = part[: max(of // 5, 1)]
    assert _native._foreign_living() == 0 and part == pattern(of)[: max(of // 5, 1)]


def test_steps_are_copied(byte_channel: ByteChannel) -> None:
    part = view_of(pattern(MIB), byte_channel)[::2]
    assert _native._foreign_living() == 0 and byte_channel.info()["pinned"] == 0
    assert part == pattern(MIB)[::2]


def test_many_small_slices_of_large_messages_cost_little(byte_channel: ByteChannel) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    data = pattern(MIB)
    for _ in range(3):
        view_of(data, byte_channel)
    before = resident()
    slices = [view_of(data, byte_channel)[i * 64 : i * 64 + 64] for i in range(1000)]
    assert byte_channel.info()["pinned"] == 0 and _native._foreign_living() == 0
    # 576 KB are allowed; the allocators of others move by a few MB, not by the GB of 1000 messages.
    assert resident() - before < 16 * MIB
    assert sum(map(sys.getsizeof, slices)) <= 1000 * 512
    assert slices[7] == data[448:512]


# Release


def test_a_released_view_refuses_everything() -> None:
    for size in (10, 10_000):
        view = view_of(pattern(size))
        hashed = view_of(pattern(size))
        before = hash(hashed)
        for each in (view, hashed):
            each.release()
            each.release()
        assert _native._foreign_living() == 0
        assert repr(view) == "<erlang.ByteView, released>"
        for use in (
            lambda: len(view),
            lambda: view[0],
            lambda: view[:],
            lambda: view[::2],
            view.tobytes,
            lambda: bytes(view),
            lambda: memoryview(view),
            lambda: hash(view),
            lambda: list(view),
            view.__enter__,
        ):
            with pytest.raises(ValueError, match="released"):
                use()
        assert hash(hashed) == before
        assert view == view and view != hashed and view != pattern(size) and view != b""


def test_a_view_with_buffers_cannot_be_released() -> None:
    for size in (10, 10_000):
        view = view_of(pattern(size))
        first, second = memoryview(view), memoryview(view)
        with pytest.raises(BufferError, match="2 exported buffers"):
            view.release()
        first.release()
        with pytest.raises(BufferError, match="1 exported buffer$"):
            view.release()
        with pytest.raises(BufferError), view:
            pass
        second.release()
        with view as same:
            assert same is view and view == pattern(size)
        with pytest.raises(ValueError):
            view.tobytes()


def test_an_index_that_releases_the_view_finds_it_released() -> None:
    class Evil:
        def __index__(self) -> int:
            view.release()
            return 0

    for key in (Evil(), slice(Evil(), None), slice(0, 5, None)):
        view = view_of(pattern(10_000))
        if key == slice(0, 5, None):
            assert view[key] == pattern(5)
            continue
        with pytest.raises(ValueError, match="released"):
            view[key]  # type: ignore[call-overload]


# Coming back without the GIL


def test_bytes_dropped_on_a_foreign_thread_die_soon(byte_channel: ByteChannel) -> None:
    data = pattern(100_000)
    before = sys.getrefcount(data)
    for _ in range(100):
        byte_channel.send_bytes(data)
    assert sys.getrefcount(data) == before + 100
    for _ in range(100):
        assert _native._receive_without_gil(byte_channel)
    # No further call of a channel is needed.
    wait_until(lambda: sys.getrefcount(data) == before)


def test_the_next_call_of_a_channel_drops_what_came_back(byte_channel: ByteChannel) -> None:
    """Here the main thread runs no Python code: it waits for the thread."""
    import threading

    data = pattern(100_000)
    before = sys.getrefcount(data)
    counts: list[int] = []

    def work() -> None:
        byte_channel.send_bytes(data)
        assert _native._receive_without_gil(byte_channel)
        byte_channel.try_receive_bytes()
        counts.append(sys.getrefcount(data))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert counts == [before]


def test_bytes_queued_in_a_channel_that_goes_die_with_it() -> None:
    data = pattern(100_000)
    before = sys.getrefcount(data)
    channel = ByteChannel(_native._new_channel(0, True))
    channel.send_bytes(data)
    del channel
    gc.collect()
    wait_until(lambda: sys.getrefcount(data) == before)
