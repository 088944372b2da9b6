# SPDX-License-Identifier: Apache-2.0
"""Signals end the waits of the main thread, whichever thread they come to."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
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


def signal_to_another_thread(
    is_waiting: Callable[[], bool], number: signal.Signals = signal.SIGALRM
) -> threading.Thread:
    """Comes to a thread that is not the main one, once that waits."""

    def run() -> None:
        wait_until(is_waiting)
        signal.pthread_kill(threading.get_ident(), number)

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


def wait_a_moment() -> None:
    erlang.sleep(1e-4)  # sleep: waiting inside a handler is what is tested.


@pytest.mark.parametrize("also", [wait_a_moment, lambda: signal.set_wakeup_fd(-1)])
def test_a_handler_runs_just_before_a_thread_sleeps(
    also: Callable[[], object], on_alarm: Alarm, channel: Channel
) -> None:
    """It waits itself, or sets another wake-up descriptor: the sleep hears of the next signal."""
    on_alarm(also)
    before = signal.signal(signal.SIGUSR1, lambda *_: channel.send("handled"))
    for microseconds in [*range(1, 81)] * 3:
        thread = signal_to_another_thread(
            lambda: _native._waiting(channel)[0] == 1, signal.SIGUSR1
        )
        signal.setitimer(signal.ITIMER_REAL, microseconds * 1e-6)
        assert channel.receive() == "handled"
        thread.join()
        signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGUSR1, before)
    assert signal.set_wakeup_fd(-1) == -1


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


def in_child(check: Callable[[], bool]) -> int:
    """What os.waitpid() says of a forked child: 0, check() is true there."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            status = 0 if check() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_childs_signals_are_its_own(
    on_alarm: Alarm, channel: Channel, wakeup_fd: socket.socket
) -> None:
    """Forked while the main thread sleeps, by another one, which is the child's main thread."""
    del wakeup_fd
    on_alarm(lambda: channel.send("handled"))
    # From Python 3.12 on asyncio takes it away in a child.
    child_has = -1 if sys.version_info >= (3, 12) else signal.set_wakeup_fd(-1)
    if child_has != -1:
        signal.set_wakeup_fd(child_has)
    status = []

    def check() -> bool:
        own = Channel(_native._new_channel(0))
        signal.signal(signal.SIGUSR1, lambda *_: own.send("mine"))
        thread = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGUSR1))
        thread.start()
        return own.receive() == "mine" and signal.set_wakeup_fd(-1) == child_has

    def fork() -> None:
        try:
            wait_until(lambda: _native._waiting(channel)[0] == 1)
            status.append(in_child(check))
        finally:
            channel.send("child")

    thread = threading.Thread(target=fork)
    thread.start()
    assert channel.receive() == "child"
    thread.join()
    assert status == [0]
    assert channel.try_receive() is None


WITHOUT_DESCRIPTORS = """
import contextlib, erlang, erlang._native, os, resource, threading
def pipes():
    found = set()
    for fd in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f'/proc/self/fd/{fd}'))
    return {each for each in found if each.startswith('pipe:')}
def new_channel():
    return erlang.Channel(erlang._native._new_channel(0))
def answer(channel):
    threading.Thread(target=channel.send, args=('there',)).start()
    assert channel.receive() == 'there'
before = pipes()
erlang.sleep(0.001)  # sleep: from here on it has descriptors for that.
ours = pipes() - before
assert len(ours) == 1
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
filled = []
with contextlib.suppress(OSError):
    while True:
        filled.append(os.dup(0))
child = os.fork()
if child == 0:
    status = 1
    try:
        answer(new_channel())
        for fd in filled:
            os.close(fd)
        status = 2 if ours & pipes() else 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
answer(new_channel())
print('ended')
"""

CLOSED_ALL = """
import erlang, erlang._native, os, socket, time
erlang.sleep(0.001)  # sleep: from here on it has descriptors for that.
os.closerange(3, 100)
pairs = [socket.socketpair() for _ in range(4)]
for left, right in pairs:
    left.setblocking(False)
    right.setblocking(False)
    left.send(b'kept')
child = os.fork()
before = time.process_time()
erlang.sleep(0.2)  # sleep: what it takes is measured.
assert time.process_time() - before < 0.1
for left, right in pairs:
    assert right.recv(9, socket.MSG_PEEK) == b'kept'
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print('ended')
"""


@pytest.mark.parametrize(
    "code", [WITHOUT_DESCRIPTORS, CLOSED_ALL], ids=["none is free", "all were closed"]
)
def test_a_process_that_is_short_of_descriptors(code: str) -> None:
    """A child takes nothing from its parent, nor anybody what is the program's."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout == "ended\n", result.stderr
