# SPDX-License-Identifier: Apache-2.0
"""A byte channel between threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import erlang
import pytest
from conftest import data_waiters, room_waiters, wait_until
from erlang import ByteChannel, ByteChannelClosed, _native
from test_byte_channel import pattern
from test_channel_threads import Result

NewByteChannel = Callable[..., ByteChannel]


def test_every_kind_of_blocked_receive_gets_what_comes(byte_channel: ByteChannel) -> None:
    for size in (0, 10, 100_000, 1 << 20):
        data = pattern(size)
        for receive, expected in [
            (byte_channel.receive_bytes, data),
            (byte_channel.receive_view, data),
            (byte_channel.receive_many, [data]),
            (lambda: next(iter(byte_channel)), data),
        ]:
            receiver = Result(receive)
            wait_until(lambda: data_waiters(byte_channel) == 1)
            byte_channel.send_bytes(data)
            assert receiver.get() == expected
    assert data_waiters(byte_channel) == 0


def test_the_gil_is_free_while_a_thread_waits(new_byte_channel: NewByteChannel) -> None:
    channel, full = new_byte_channel(), new_byte_channel(10)
    full.send_bytes(bytes(10))
    threads = [
        Result(channel.receive_bytes),
        Result(channel.receive_many, 1),
        Result(channel.receive_view),
        Result(full.send_bytes, bytes(10)),
        Result(full.send_many, [bytes(10)]),
    ]
    wait_until(lambda: data_waiters(channel) == 3 and room_waiters(full) == 2)
    for _ in range(3):
        full.receive_bytes()
        channel.send_bytes(b"x")
    for thread in threads:
        thread.get()


def test_waiters_are_served_first_come_first_served(byte_channel: ByteChannel) -> None:
    served: list[int] = []

    def wait(place: int) -> None:
        (byte_channel.receive_bytes, byte_channel.receive_view)[place % 2]()
        served.append(place)

    threads = []
    for place in range(8):
        threads.append(Result(wait, place))
        wait_until(lambda place=place: data_waiters(byte_channel) == place + 1)
    for count in range(8):
        byte_channel.send_bytes(b"")
        wait_until(lambda count=count: len(served) == count + 1)
    for thread in threads:
        thread.get()
    assert served == list(range(8))


def test_receive_many_leaves_what_it_does_not_take_to_others(byte_channel: ByteChannel) -> None:
    receivers = [Result(byte_channel.receive_many, 2) for _ in range(3)]
    wait_until(lambda: data_waiters(byte_channel) == 3)
    byte_channel.send_many(b"%d" % i for i in range(6))
    taken = sum((receiver.get() for receiver in receivers), [])  # type: ignore[call-overload]
    byte_channel.close()
    assert sorted(taken + list(byte_channel)) == [b"%d" % i for i in range(6)]


def test_a_waiter_that_times_out_leaves_nothing_behind_and_loses_nothing(
    byte_channel: ByteChannel,
) -> None:
    patient = Result(byte_channel.receive_bytes)
    wait_until(lambda: data_waiters(byte_channel) == 1)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            byte_channel.receive_many(timeout=0.001)
    assert data_waiters(byte_channel) == 1
    byte_channel.send_bytes(b"kept")
    assert patient.get() == b"kept"


def test_close_wakes_everybody(new_byte_channel: NewByteChannel) -> None:
    channel = new_byte_channel(10)
    channel.send_bytes(bytes(10))
    senders = [Result(channel.send_bytes, bytes(10)) for _ in range(2)]
    many = Result(channel.send_many, [bytes(10)])
    wait_until(lambda: room_waiters(channel) == 3)
    channel.close()
    for sender in senders:
        with pytest.raises(ByteChannelClosed):
            sender.get()
    with pytest.raises(ByteChannelClosed) as caught:
        many.get()
    assert caught.value.sent == 0  # type: ignore[attr-defined]
    assert channel.receive_bytes() == bytes(10)

    channel = new_byte_channel()
    receivers = [
        Result(channel.receive_bytes), Result(channel.receive_view), Result(channel.receive_many),
    ]
    iterating = Result(lambda: list(channel))
    wait_until(lambda: data_waiters(channel) == 4)
    channel.close()
    for receiver in receivers:
        with pytest.raises(ByteChannelClosed):
            receiver.get()
    assert iterating.get() == []


def test_the_death_of_the_last_sender_wakes_everybody(byte_channel: ByteChannel) -> None:
    receivers = [Result(byte_channel.receive_bytes), Result(byte_channel.receive_many)]
    wait_until(lambda: data_waiters(byte_channel) == 2)
    _native._remove_sender(byte_channel)
    for receiver in receivers:
        with pytest.raises(ByteChannelClosed):
            receiver.get()


def test_the_applications_stop_wakes_everybody(new_byte_channel: NewByteChannel) -> None:
    channel, full = new_byte_channel(), new_byte_channel(1)
    full.send_bytes(b"x")
    waiting = [
        Result(channel.receive_bytes),
        Result(channel.receive_many, 1),
        Result(full.send_bytes, b"y"),
        Result(full.send_many, [b"y"]),
    ]
    wait_until(lambda: data_waiters(channel) == 2 and room_waiters(full) == 2)
    _native._set_stopped(True)
    try:
        for thread in waiting:
            with pytest.raises(erlang.ApplicationStopped):
                thread.get()
    finally:
        _native._set_stopped(False)
    assert data_waiters(channel) == 0 and room_waiters(full) == 0


@pytest.mark.parametrize("max_size", [0, 40_000])
@pytest.mark.parametrize("size", [12, 9_000, 300_000])
def test_every_message_goes_to_exactly_one_receiver(
    new_byte_channel: NewByteChannel, size: int, max_size: int
) -> None:
    if 0 < max_size < size:
        max_size = 3 * size
    channel = new_byte_channel(max_size)
    per_sender = 2_000 if size < 100_000 else 100
    padding = bytes(size - 12)

    def send(sender: int) -> None:
        kind = (bytes, bytearray, memoryview)[sender]
        chunks = (kind(b"%2d %8d " % (sender, i) + padding) for i in range(per_sender))
        if sender == 0:
            assert channel.send_many(chunks) == per_sender
        else:
            for chunk in chunks:
                channel.send_bytes(chunk)

    def many() -> list[bytes]:
        taken: list[bytes] = []
        try:
            while True:
                taken += channel.receive_many(7)
        except ByteChannelClosed:
            return taken

    def views() -> list[bytes]:
        taken = []
        try:
            while True:
                with channel.receive_view() as view:
                    taken.append(view.tobytes())
        except ByteChannelClosed:
            return taken

    consumers = [Result(lambda: list(channel)), Result(many), Result(views), Result(views)]
    producers = [Result(send, sender) for sender in range(3)]
    for producer in producers:
        producer.get()
    channel.close()
    taken = [consumer.get() for consumer in consumers]
    assert all(len(m) == size for part in taken for m in part)  # type: ignore[attr-defined]
    parts = [[tuple(map(int, m[:12].split())) for m in part] for part in taken]  # type: ignore
    assert sorted(sum(parts, [])) == [(s, i) for s in range(3) for i in range(per_sender)]
    for part in parts:
        for sender in range(3):
            mine = [i for s, i in part if s == sender]
            assert mine == sorted(mine)
    assert channel.info()["size"] == channel.info()["pinned"] == 0


def test_closing_during_sends_keeps_exactly_what_was_accepted(
    new_byte_channel: NewByteChannel,
) -> None:
    for round_ in range(50):
        channel = new_byte_channel()
        large = pattern(10_000)

        def send(channel: ByteChannel = channel, large: bytes = large) -> int:
            count = 0
            try:
                while True:
                    channel.send_bytes(large if count % 2 else b"small")
                    count += 1
            except ByteChannelClosed:
                return count

        senders = [Result(send) for _ in range(3)]
        wait_until(lambda channel=channel, least=round_ * 500: channel.info()["size"] >= least)
        channel.close()
        accepted = sum(sender.get() for sender in senders)  # type: ignore[misc]
        assert len(list(channel)) == accepted
        assert channel.info()["pinned"] == 0
        with pytest.raises(ByteChannelClosed):
            channel.receive_bytes()


def test_one_view_may_be_used_by_several_threads(byte_channel: ByteChannel) -> None:
    data = pattern(1 << 20)
    assert _native._send_foreign(byte_channel, data)
    view = byte_channel.receive_view()

    def use() -> bool:
        return all(
            bytes(view) == data and view[i : i + 300_000] == data[i : i + 300_000]
            for i in range(0, 100, 9)
        )

    assert all([thread.get() for thread in [Result(use) for _ in range(4)]])
    copies = [Result(bytes, view) for _ in range(4)]
    released = False
    while not released:  # Not while one of them copies without the GIL.
        try:
            view.release()
            released = True
        except BufferError:
            pass
    for copy in copies:
        try:
            assert copy.get() == data
        except ValueError as error:
            assert "released" in str(error)
    assert _native._foreign_living() == 0


BLOCKED = """
import erlang, erlang._native, os, signal, threading
# What runs in the background starts with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
channel = erlang.ByteChannel(erlang._native._new_channel(16, True))
{setup}
def kill():
    while sum(erlang._native._waiting(channel)) == 0: pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=kill, daemon=True).start()
try:
    {wait}
except KeyboardInterrupt as error:
    assert erlang._native._waiting(channel) == (0, 0)
    print("ended", getattr(error, "sent", ""))
"""


@pytest.mark.parametrize(
    ("setup", "wait", "text"),
    [
        ("", "channel.receive_bytes()", "ended \n"),
        ("", "channel.receive_view(1000)", "ended \n"),
        ("", "channel.receive_many()", "ended \n"),
        ("", "next(iter(channel))", "ended \n"),
        ("channel.send_bytes(bytes(16))", "channel.send_bytes(b'x')", "ended \n"),
        ("", "channel.send_many([bytes(15), b'x', b'y'])", "ended 2\n"),
    ],
)
def test_ctrl_c_ends_a_wait(setup: str, wait: str, text: str) -> None:
    code = BLOCKED.format(setup=setup, wait=wait)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == text, result.stderr


def test_daemon_threads_do_no_harm_at_the_end_of_the_program() -> None:
    code = """
import erlang, erlang._native, threading
channel = erlang.ByteChannel(erlang._native._new_channel(10_000_000, True))
full = erlang.ByteChannel(erlang._native._new_channel(10_000, True))
full.send_bytes(bytes(10_000))
def copy():
    while True:
        channel.send_bytes(bytearray(1_000_000))
        channel.send_bytes(bytes(1_000_000))
        channel.receive_many(2)
for target in (copy, copy):
    threading.Thread(target=target, daemon=True).start()
threading.Thread(target=full.send_many, args=([bytes(9_000)],), daemon=True).start()
threading.Thread(target=full.send_bytes, args=(bytes(9_000),), daemon=True).start()
while erlang._native._waiting(full)[1] < 2: pass
print("end")
"""
    for _ in range(10):
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr


def test_bytes_that_come_back_on_many_threads_all_die(byte_channel: ByteChannel) -> None:
    data = [pattern(8192 + i) for i in range(50)]
    before = [sys.getrefcount(d) for d in data]
    senders = [Result(byte_channel.send_many, data * 20) for _ in range(2)]

    def drop() -> None:
        while _native._receive_without_gil(byte_channel) or any(s.is_alive() for s in senders):
            pass

    for dropper in [Result(drop) for _ in range(3)]:
        dropper.get()
    for sender in senders:
        assert sender.get() == 1000
    del senders, sender
    wait_until(lambda: [sys.getrefcount(d) for d in data] == before)
