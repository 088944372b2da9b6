# SPDX-License-Identifier: Apache-2.0
"""Channels between processes without Erlang: Python and Python, Python and C++."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import multiprocessing
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import erlang
import pytest
from conftest import wait_until
from erlang import ByteChannel, ByteChannelClosed, Channel, ChannelClosed, shared_channel

PEER = pathlib.Path(erlang.__file__).parents[2] / "tests/python/shared_peer"
PATH = os.fspath(pathlib.Path(erlang.__file__).parents[1])
needs_peer = pytest.mark.skipif(not PEER.exists(), reason="this build has no C++ tests")
ENVIRONMENT = os.environ | {"PYTHONPATH": PATH}
COUNT = 2000


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    return f"@penstock-{os.getpid()}-{request.node.name}"


@contextlib.contextmanager
def python(code: str, *arguments: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs code, with `address` and `arguments`; killed at the end if need be."""
    head = "import erlang, sys\nfrom erlang import shared_channel\nargs = sys.argv[1:]\n"
    process = subprocess.Popen([sys.executable, "-c", head + code, *arguments], text=True,
                               env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               **options)
    with process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str]) -> str:
    """What it printed, if it ended well."""
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output.strip()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# What crosses
# --------------------------------------------------------------------------------------------------

TERMS = [{"list": [1, -2.5, None, True, "ä", b"\xff"], "big": 2**200, "tuple": (1, (2, ()))}, [],
         b"x" * 200_000, "x" * 1000]
ECHO = """
asked, told = shared_channel(args[0]), shared_channel(args[1])
for term in asked:
    told.send(term)
"""


def test_terms_come_back_as_they_were(address: str) -> None:
    asked = shared_channel(address, create=True)
    told = shared_channel(address + "-told", create=True)
    assert type(asked) is Channel
    with python(ECHO, address, address + "-told") as echo:
        for term in TERMS:
            asked.send(term)
        for term in TERMS:
            assert told.receive(timeout=60) == term
        asked.close()
        finished(echo)


def test_bytes_cross(address: str) -> None:
    channel = shared_channel(address, create=True, content="bytes", max_size=5000)
    assert type(channel) is ByteChannel
    assert channel.info()["max_size"] == 5000
    with python("shared_channel(args[0], content='bytes').send_many([b'', b'x' * 5000])",
                address) as sender:
        assert channel.receive_bytes(timeout=60) == b""
        assert channel.receive_bytes(timeout=60) == b"x" * 5000
        finished(sender)
    with pytest.raises(ValueError):
        channel.send_bytes(b"x" * 5001)


def test_coroutines_wait_for_other_processes(address: str) -> None:
    asked = shared_channel(address, create=True)
    told = shared_channel(address + "-told", create=True)

    async def main() -> list[object]:
        async def ask() -> None:
            for number in range(COUNT):
                while not asked.try_send(number):
                    await asyncio.sleep(0)
            asked.close()

        asking = asyncio.ensure_future(ask())
        answers = [await told.async_receive() for _ in range(COUNT)]
        await asking
        return answers

    with python(ECHO, address, address + "-told") as echo:
        assert asyncio.run(main()) == list(range(COUNT))
        finished(echo)


def test_what_belongs_to_a_process_does_not_cross(address: str) -> None:
    channel = shared_channel(address, create=True)
    with pytest.raises(ValueError):
        channel.send([channel])
    with pytest.raises(TypeError):
        channel.send(object())
    assert channel.info()["size"] == 0


def test_several_send_and_several_receive(address: str) -> None:
    work = shared_channel(address, create=True, max_size=4096)
    done = shared_channel(address + "-told", create=True, max_size=4096)
    sender = f"c = shared_channel(args[0])\nfor i in range({COUNT}): c.send((args[1], i))"
    with contextlib.ExitStack() as processes:
        echoes = [processes.enter_context(python(ECHO, address, address + "-told"))
                  for _ in range(2)]
        senders = [processes.enter_context(python(sender, address, name)) for name in "abc"]
        got = [done.receive(timeout=60) for _ in range(3 * COUNT)]
        work.close()
        for process in echoes + senders:
            finished(process)
    assert sorted(got) == [(name, i) for name in "abc" for i in range(COUNT)]
    assert done.try_receive() is None


# C++
# --------------------------------------------------------------------------------------------------


def peer(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([PEER, *words], text=True, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)


@needs_peer
def test_cpp_sends_terms_to_python(address: str) -> None:
    channel = shared_channel(address, create=True)
    with peer("produce", address, str(COUNT)) as process:
        got = [channel.receive(timeout=60) for _ in range(COUNT)]
        finished(process)
    assert got == [[number, b"xx"] for number in range(COUNT)]


@needs_peer
def test_python_sends_bytes_to_cpp(address: str) -> None:
    channel = shared_channel(address, create=True, content="bytes")
    with peer("consume", address) as process:
        for number in range(COUNT):
            channel.send_bytes(bytes(number))
        channel.close()
        assert finished(process) == f"{COUNT} {sum(range(COUNT))}"


@needs_peer
def test_what_a_cpp_creator_had_sent_is_received_after_its_end(address: str) -> None:
    with peer("create", address, "1000") as process:
        assert line(process) == "created"
        channel = shared_channel(address)
        assert isinstance(channel, ByteChannel)
        finished(process)  # Both say go on and wait for its end: it sends, and ends.
    assert [len(message) for message in channel] == list(range(1000))
    with pytest.raises(ByteChannelClosed):
        channel.send_bytes(b"")


# Ends
# --------------------------------------------------------------------------------------------------

CREATE = """
channel = shared_channel(args[0], create=True)
for number in range(100): channel.send(number)
print("created", flush=True)
"""


def test_the_channel_ends_with_its_creator(address: str) -> None:
    channel = shared_channel(address, create=True)
    with python("c = shared_channel(args[0])\nprint(list(c), flush=True)", address) as other:
        channel.send("last")
        wait_until(lambda: channel.info()["size"] == 0)
        del channel
        assert finished(other) == "['last']"
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        while True:  # The address goes soon.
            shared_channel(address)


@pytest.mark.parametrize("ending", ["kill", "exit"])
def test_the_creators_process_ends(address: str, ending: str) -> None:
    """However it does: what is queued is received, and then it is over, also for who waits."""
    with python(CREATE + "sys.stdin.read()", address) as creator:
        assert line(creator) == "created"
        channel = shared_channel(address)
        assert [channel.receive() for _ in range(50)] == list(range(50))
        creator.kill() if ending == "kill" else finished(creator)
    assert list(channel) == list(range(50, 100))
    with pytest.raises(ChannelClosed):
        channel.send(1)


def test_a_receiver_that_sleeps_learns_of_the_creators_death(address: str) -> None:
    with python(CREATE + "sys.stdin.read()", address) as creator:
        assert line(creator) == "created"
        channel = shared_channel(address)
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.extend(channel))
        thread.start()
        wait_until(lambda: len(got) == 100)
        creator.kill()
        thread.join(60)
        assert not thread.is_alive()
    assert got == list(range(100))


@pytest.mark.parametrize("does", ["send(b'x' * 100_000)", "receive()"])
def test_it_goes_on_when_another_process_is_killed(address: str, does: str) -> None:
    channel = shared_channel(address, create=True)
    code = f"c = shared_channel(args[0])\nprint(1, flush=True)\nwhile True: c.{does}"
    for _ in range(5):
        with python(code, address) as other:
            assert line(other) == "1"
            if does.startswith("send"):
                for _ in range(20):
                    assert channel.receive(timeout=60) == b"x" * 100_000
            else:
                for number in range(500):
                    channel.send(number, timeout=60)
            other.kill()
    # Nothing of theirs is left in the way.
    wait_until(lambda: channel.try_receive() is None and channel.info()["size"] == 0)
    channel.send("on")
    assert channel.receive(timeout=60) == "on"


def test_a_stopped_process_keeps_nobody_from_sending_and_receiving(address: str) -> None:
    channel = shared_channel(address, create=True)
    with python("c = shared_channel(args[0])\nprint(1, flush=True)\nsys.stdin.read()",
                address) as other:
        assert line(other) == "1"
        other.send_signal(signal.SIGSTOP)
        for number in range(COUNT):
            channel.send(number)
            assert channel.receive(timeout=60) == number
        other.send_signal(signal.SIGCONT)
        finished(other)


# Who is let in
# --------------------------------------------------------------------------------------------------


def test_an_invited_child_connects() -> None:
    channel = shared_channel(create=True)
    with erlang.invite(channel) as invitation:
        descriptor = invitation.fileno()
        with python("shared_channel(int(args[0])).send('here')", str(descriptor),
                    pass_fds=[descriptor]) as child:
            assert channel.receive(timeout=60) == "here"
            finished(child)


def greet(invitation: socket.socket) -> None:
    shared_channel(invitation).send("forked")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_connects(method: str) -> None:
    channel = shared_channel(create=True)
    context = multiprocessing.get_context(method)
    with erlang.invite(channel) as invitation:
        child = context.Process(target=greet, args=(invitation,))
        child.start()
        assert channel.receive(timeout=60) == "forked"
        child.join(60)
    assert child.exitcode == 0


def test_only_the_creator_invites(address: str) -> None:
    channel = shared_channel(address, create=True)
    other = shared_channel(address)
    with pytest.raises(OSError) as failure:
        erlang.invite(other)
    assert failure.value.errno == errno.EINVAL
    with pytest.raises(TypeError):
        erlang.invite("channel")  # type: ignore[arg-type]
    channel.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused(address: str) -> None:
    channel = shared_channel(address, create=True)
    code = """
import os
os.setgroups([])
os.setgid(65534)
os.setuid(65534)  # Only now: it may not be able to read the interpreter's files.
try:
    shared_channel(args[0])
except PermissionError:
    print("refused")
"""
    with python(code, address) as other:
        assert finished(other) == "refused"
    channel.close()


def test_errors_say_what_is_wrong(address: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConnectionRefusedError):
        shared_channel(address)
    with pytest.raises(FileNotFoundError):
        shared_channel(tmp_path / "none")
    channel = shared_channel(address, create=True)
    with pytest.raises(OSError) as failure:
        shared_channel(address, create=True)
    assert failure.value.errno == errno.EADDRINUSE
    with pytest.raises(ValueError):
        shared_channel(address, content="bytes")
    for arguments in ({"max_size": 0}, {"max_size": -1}, {"content": "text"}):
        with pytest.raises(ValueError):
            shared_channel(create=True, **arguments)
    with pytest.raises(OSError):
        shared_channel(create=True, max_size=2**24 + 1)
    for wrong in (None, 1.5, [], {}, True):
        with pytest.raises(TypeError):
            shared_channel(wrong)  # type: ignore[call-overload]
    for number in (-1, 2**32 + 1, 2**80):
        with pytest.raises((ValueError, OverflowError)):
            shared_channel(number)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, pytest.raises(TypeError):
        shared_channel(theirs, timeout="soon")  # type: ignore[call-overload]
    assert theirs.fileno() == -1
    with pytest.raises(TypeError):
        shared_channel(address, max_size=5)  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        shared_channel("", create=True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, pytest.raises(TimeoutError):
        shared_channel(theirs, timeout=0.01)
    channel.close()


def test_a_signal_ends_waiting_for_the_creator() -> None:
    code = """
import signal, socket, os
def ring(*_): raise KeyError("rung")
signal.signal(signal.SIGUSR1, ring)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
print(1, flush=True)
try:
    shared_channel(theirs, timeout=None)
except KeyError:
    print("ended", flush=True)
"""
    with python(code) as waiting:
        assert line(waiting) == "1"
        # Until it sleeps, the signal may come too early for what is tested: then it is sent again.
        wait_until(lambda: "poll" in wchan(waiting.pid))
        waiting.send_signal(signal.SIGUSR1)
        assert finished(waiting) == "ended"


def wchan(pid: int) -> str:
    return pathlib.Path(f"/proc/{pid}/wchan").read_text()


# What is left
# --------------------------------------------------------------------------------------------------


def belongings() -> tuple[int, int, int]:
    """Descriptors, threads, and mappings of shared memory."""
    maps = pathlib.Path("/proc/self/maps").read_text()
    return (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")),
            maps.count("memfd:penstock"))


def test_nothing_is_left(address: str, tmp_path: pathlib.Path) -> None:
    gc.collect()  # Of other cases.
    wait_until(lambda: belongings()[2] == 0)
    before = belongings()
    shared_memory = sorted(os.listdir("/dev/shm"))
    path = tmp_path / "channel"
    for place in (address, path):
        created = shared_channel(place, create=True)
        connected = shared_channel(place)
        connected.send(1)
        assert created.receive() == 1
        del created
        assert not path.exists()
        assert list(connected) == []
        del connected
    wait_until(lambda: belongings() == before)
    assert sorted(os.listdir("/dev/shm")) == shared_memory


def test_a_path_goes_with_the_process_and_a_stale_one_is_taken_over(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "channel"
    with python(CREATE + "channels = [channel]; channels.append(channels)", str(path)) as creator:
        finished(creator)
    assert not path.exists()
    with python(CREATE + "sys.stdin.read()", str(path)) as creator:
        assert line(creator) == "created"
        assert path.stat().st_mode & 0o777 == 0o600
        creator.kill()
    assert path.exists()
    with pytest.raises(ConnectionRefusedError):
        shared_channel(path)
    channel = shared_channel(path, create=True)
    shared_channel(path).send("new")
    assert channel.receive() == "new"
