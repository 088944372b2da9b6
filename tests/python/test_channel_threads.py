# SPDX-License-Identifier: Apache-2.0
"""A channel between threads."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
from collections.abc import Callable

import erlang
import pytest
from conftest import data_waiters, room_waiters, wait_until
from erlang import Channel, ChannelClosed, _native

NewChannel = Callable[..., Channel]


class Result(threading.Thread):
    """A thread that keeps what its function returned or raised."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._args = args
        self.value: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.value = self._function(*self._args)
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def get(self) -> object:
        self.join(60)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.value


def test_a_blocked_receive_gets_what_comes(channel: Channel) -> None:
    for message in (1, None, "x" * 100_000):
        receiver = Result(channel.receive)
        wait_until(lambda: data_waiters(channel) == 1)
        channel.send(message)
        assert receiver.get() == message
    assert data_waiters(channel) == 0


def test_the_gil_is_free_while_a_thread_waits(new_channel: NewChannel) -> None:
    channel, full = new_channel(), new_channel(10)
    full.send(b"12345")
    threads = [
        Result(channel.receive),
        Result(full.send, b"12345"),
        Result(lambda: next(iter(channel))),
    ]
    wait_until(lambda: data_waiters(channel) == 2 and room_waiters(full) == 1)
    full.receive()
    channel.send(1)
    channel.send(2)
    for thread in threads:
        thread.get()


def test_waiters_are_served_first_come_first_served(channel: Channel) -> None:
    served: list[int] = []

    def wait(place: int) -> None:
        channel.receive()
        served.append(place)

    threads = []
    for place in range(8):
        threads.append(Result(wait, place))
        wait_until(lambda place=place: data_waiters(channel) == place + 1)
    for count in range(8):
        channel.send(None)
        wait_until(lambda count=count: len(served) == count + 1)
    for thread in threads:
        thread.get()
    assert served == list(range(8))


def test_a_waiter_that_times_out_leaves_nothing_behind_and_loses_nothing(channel: Channel) -> None:
    patient = Result(channel.receive)
    wait_until(lambda: data_waiters(channel) == 1)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            channel.receive(0.001)
    assert data_waiters(channel) == 1
    channel.send("kept")
    assert patient.get() == "kept"


def test_close_wakes_everybody(new_channel: NewChannel) -> None:
    channel = new_channel(10)
    channel.send(b"12345")
    senders = [Result(channel.send, b"12345") for _ in range(3)]
    wait_until(lambda: room_waiters(channel) == 3)
    channel.close()
    for sender in senders:
        with pytest.raises(ChannelClosed):
            sender.get()
    assert channel.receive() == b"12345"

    channel = new_channel()
    receivers = [Result(channel.receive) for _ in range(3)] + [Result(lambda: list(channel))]
    wait_until(lambda: data_waiters(channel) == 4)
    channel.close()
    for receiver in receivers[:3]:
        with pytest.raises(ChannelClosed):
            receiver.get()
    assert receivers[3].get() == []


def test_the_death_of_the_last_sender_wakes_everybody(channel: Channel) -> None:
    receivers = [Result(channel.receive) for _ in range(3)]
    wait_until(lambda: data_waiters(channel) == 3)
    _native._remove_sender(channel)
    for receiver in receivers:
        with pytest.raises(ChannelClosed):
            receiver.get()


def test_the_applications_stop_wakes_everybody(new_channel: NewChannel) -> None:
    channel, full = new_channel(), new_channel(10)
    full.send(b"12345")
    waiting = [Result(channel.receive), Result(lambda: list(channel)), Result(full.send, b"12345")]
    wait_until(lambda: data_waiters(channel) == 2 and room_waiters(full) == 1)
    _native._set_stopped(True)
    try:
        for thread in waiting:
            with pytest.raises(erlang.ApplicationStopped):
                thread.get()
    finally:
        _native._set_stopped(False)
    assert data_waiters(channel) == 0 and room_waiters(full) == 0


def test_a_blocked_send_goes_on_when_there_is_room(new_channel: NewChannel) -> None:
    channel = new_channel(30)
    channel.send(b"x" * 25)
    senders = [Result(channel.send, bytes([i]) * 20) for i in range(3)]
    wait_until(lambda: room_waiters(channel) == 3)
    received = [channel.receive() for _ in range(4)]
    for sender in senders:
        sender.get()
    assert collections.Counter(received) == collections.Counter(
        [b"x" * 25, b"\0" * 20, b"\1" * 20, b"\2" * 20]
    )
    assert channel.info()["size"] == 0 and room_waiters(channel) == 0


@pytest.mark.parametrize("max_size", [0, 200])
@pytest.mark.parametrize("receivers", [1, 4])
def test_every_message_goes_to_exactly_one_receiver(
    new_channel: NewChannel, receivers: int, max_size: int
) -> None:
    channel = new_channel(max_size)
    per_sender = 5_000

    def send(sender: int) -> None:
        for i in range(per_sender):
            channel.send((sender, i))

    consumers = [Result(lambda: list(channel)) for _ in range(receivers)]
    producers = [Result(send, sender) for sender in range(3)]
    for producer in producers:
        producer.get()
    channel.close()
    taken = [consumer.get() for consumer in consumers]
    everything = sorted(message for part in taken for message in part)  # type: ignore
    assert everything == [(s, i) for s in range(3) for i in range(per_sender)]
    for part in taken:
        for sender in range(3):
            mine = [i for s, i in part if s == sender]  # type: ignore[attr-defined]
            assert mine == sorted(mine)
    assert channel.info()["size"] == 0


def test_threads_that_share_one_iterator_share_its_end(channel: Channel) -> None:
    iterator = iter(channel)
    threads = [Result(lambda: list(iterator)) for _ in range(4)]
    for i in range(100):
        channel.send(i)
    channel.close()
    assert sorted(sum((thread.get() for thread in threads), [])) == list(range(100))  # type: ignore


BLOCKED = """
import erlang, erlang._native, os, signal, sys, threading
# What runs in the background starts with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
channel = erlang.Channel(erlang._native._new_channel(16))
{setup}
def kill():
    while sum(erlang._native._waiting(channel)) == 0: pass
    os.kill(os.getpid(), signal.{signal})
threading.Thread(target=kill, daemon=True).start()
try:
    {wait}
except {error}:
    assert erlang._native._waiting(channel) == (0, 0)
    print("ended")
"""


@pytest.mark.parametrize(
    "wait", ["channel.receive()", "next(iter(channel))", "channel.receive(1000)"]
)
def test_ctrl_c_ends_a_blocked_receive(wait: str) -> None:
    code = BLOCKED.format(setup="", signal="SIGINT", wait=wait, error="KeyboardInterrupt")
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "ended\n", result.stderr


def test_ctrl_c_ends_a_blocked_send() -> None:
    code = BLOCKED.format(
        setup="channel.send(b'0123456')",
        signal="SIGINT",
        wait="channel.send(b'0123456')",
        error="KeyboardInterrupt",
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "ended\n", result.stderr


def test_a_handled_signal_does_not_end_a_wait() -> None:
    setup = (
        "def handler(*_):\n"
        "    seen.append(1)\n"
        "    threading.Thread(target=answer, daemon=True).start()\n"
        "def answer():\n"
        "    while erlang._native._waiting(channel)[0] == 0: pass\n"
        "    channel.send('x')\n"
        "seen = []\n"
        "signal.signal(signal.SIGUSR1, handler)"
    )
    code = BLOCKED.format(
        setup=setup,
        signal="SIGUSR1",
        wait="print(channel.receive(), seen)",
        error="KeyboardInterrupt",
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "x [1]\n", result.stderr


def test_an_exception_set_for_a_thread_ends_its_next_wait(channel: Channel) -> None:
    import ctypes

    started = threading.Event()
    go = threading.Event()

    def wait() -> None:
        started.set()
        while not go.is_set():
            pass
        channel.receive()

    thread = Result(wait)
    started.wait()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(ZeroDivisionError)
    )
    go.set()
    with pytest.raises(ZeroDivisionError):
        thread.get()
    assert data_waiters(channel) == 0


def test_a_daemon_thread_that_waits_does_not_hold_up_the_end_of_the_program() -> None:
    code = """
import erlang, erlang._native, threading
channel = erlang.Channel(erlang._native._new_channel())
for _ in range(3):
    threading.Thread(target=channel.receive, daemon=True).start()
    threading.Thread(target=lambda: list(channel), daemon=True).start()
while erlang._native._waiting(channel)[0] < 6: pass
print("end")
"""
    for _ in range(5):
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr


def test_daemon_threads_that_are_woken_during_the_end_of_the_program_do_no_harm() -> None:
    code = """
import erlang, erlang._native, threading, time
channel = erlang.Channel(erlang._native._new_channel())
def receive():
    while True:
        try: channel.receive(0.0005)
        except TimeoutError: pass
for _ in range(4):
    threading.Thread(target=receive, daemon=True).start()
while erlang._native._waiting(channel)[0] == 0: pass
print("end")
"""
    for _ in range(10):
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
