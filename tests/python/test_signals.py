# SPDX-License-Identifier: Apache-2.0
"""Signals end the waits of the main thread, whichever thread they come to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import erlang
import pytest
from conftest import wait_until
from erlang import Channel, _native


@pytest.fixture
def idle_thread() -> Iterator[None]:
    """To which the kernel gives the process's signals while the main thread does not want them."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.fixture
def on_alarm() -> Iterator[Callable[[Callable[[], object]], None]]:
    """on_alarm(function): what SIGALRM runs from then on."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda function: signal.signal(signal.SIGALRM, lambda *_: function()) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def wakeup_fd() -> Iterator[socket.socket]:
    """The program's own wake-up descriptor: what can be read there."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    assert signal.set_wakeup_fd(writer.fileno()) == -1
    yield reader
    assert signal.set_wakeup_fd(-1) == writer.fileno()
    reader.close()
    writer.close()


pytestmark = pytest.mark.usefixtures("idle_thread")
Alarm = Callable[[Callable[[], object]], None]
LAST_US = 205


def test_a_signal_is_handled_before_the_loop_sleeps(on_alarm: Alarm) -> None:
    """Also one that comes while callbacks run that are no code of Python's."""
    loop = erlang.new_event_loop()
    woken = []
    on_alarm(lambda: woken.append(loop.stop()))
    for microseconds in range(5, LAST_US):
        for _ in range(200):
            loop.call_soon(int)
        signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
        loop.run_forever()  # Until the handler stops it.
    loop.close()
    assert len(woken) == LAST_US - 5


def test_a_signal_is_handled_before_a_thread_sleeps(on_alarm: Alarm, channel: Channel) -> None:
    on_alarm(lambda: channel.send(None))
    for microseconds in range(5, LAST_US):
        signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
        channel.receive()  # Until the handler sends.
    assert channel.try_receive() is None


def signal_to_another_thread(is_waiting: Callable[[], bool]) -> threading.Thread:
    """Comes to a thread that is not the main one, once that waits."""

    def run() -> None:
        wait_until(is_waiting)
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_signal_of_another_thread_ends_a_wait(on_alarm: Alarm, channel: Channel) -> None:
    on_alarm(lambda: channel.send("handled"))
    for _ in range(50):
        thread = signal_to_another_thread(lambda: _native._waiting(channel)[0] == 1)
        assert channel.receive() == "handled"
        thread.join()


def test_the_programs_wakeup_fd_hears_of_each(
    on_alarm: Alarm, channel: Channel, wakeup_fd: socket.socket
) -> None:
    on_alarm(lambda: channel.send("handled"))
    for _ in range(50):
        thread = signal_to_another_thread(lambda: _native._waiting(channel)[0] == 1)
        assert channel.receive() == "handled"
        thread.join()
        assert wakeup_fd.recv(8) == bytes([signal.SIGALRM])


def test_a_handler_may_set_another_wakeup_fd(
    on_alarm: Alarm, channel: Channel, wakeup_fd: socket.socket
) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = []

    def handle() -> None:
        before.append(signal.set_wakeup_fd(writer.fileno()))
        channel.send("handled")

    on_alarm(handle)
    thread = signal_to_another_thread(lambda: _native._waiting(channel)[0] == 1)
    assert channel.receive() == "handled"
    thread.join()
    assert wakeup_fd.recv(8) == bytes([signal.SIGALRM])
    os.kill(os.getpid(), signal.SIGALRM)
    assert channel.receive() == "handled"
    assert reader.recv(8) == bytes([signal.SIGALRM])
    # As the program has left it; and as it will find it.
    assert signal.set_wakeup_fd(before[0]) == writer.fileno()


def test_a_wakeup_fd_that_was_closed_does_no_harm(on_alarm: Alarm, channel: Channel) -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno())

    def handle() -> None:
        writer.close()
        channel.send("handled")

    on_alarm(handle)
    thread = signal_to_another_thread(lambda: _native._waiting(channel)[0] == 1)
    assert channel.receive() == "handled"
    thread.join()
    assert signal.set_wakeup_fd(-1) == -1
    reader.close()


def test_signal_handlers_of_a_loop(on_alarm: Alarm) -> None:
    """asyncio's, which has a wake-up descriptor of its own."""
    del on_alarm

    async def body() -> None:
        loop = asyncio.get_running_loop()
        handled = asyncio.Event()
        loop.add_signal_handler(signal.SIGALRM, handled.set)
        for microseconds in range(5, LAST_US):
            handled.clear()
            signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
            await asyncio.wait_for(handled.wait(), 60)
        assert loop.remove_signal_handler(signal.SIGALRM)

    erlang.run(body())
    assert signal.set_wakeup_fd(-1) == -1


def test_a_loop_that_moved_to_another_thread_takes_no_signals(
    on_alarm: Alarm, channel: Channel
) -> None:
    on_alarm(lambda: channel.send("handled"))
    loop = erlang.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0.001))  # sleep: it sleeps on this thread.
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    for _ in range(50):
        other = signal_to_another_thread(lambda: _native._waiting(channel)[0] == 1)
        assert channel.receive() == "handled"
        other.join()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_childs_signals_are_its_own(on_alarm: Alarm, channel: Channel) -> None:
    """Forked while the main thread sleeps, by another one, which is the child's main thread."""
    on_alarm(lambda: channel.send("handled"))
    status = []

    def fork() -> None:
        wait_until(lambda: _native._waiting(channel)[0] == 1)
        child = os.fork()
        if child == 0:
            own = Channel(_native._new_channel(0))
            signal.signal(signal.SIGALRM, lambda *_: own.send("mine"))
            signal.setitimer(signal.ITIMER_REAL, 1e-4)
            os._exit(0 if own.receive() == "mine" else 1)
        status.append(os.waitpid(child, 0)[1])
        channel.send("child")

    thread = threading.Thread(target=fork)
    thread.start()
    assert channel.receive() == "child"
    thread.join()
    assert status == [0]
    assert channel.try_receive() is None
