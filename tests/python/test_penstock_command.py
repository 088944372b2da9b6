# SPDX-License-Identifier: Apache-2.0
"""The command `penstock` where there is no Erlang: what it knows of the layout, what it makes of
memory that is not what it says, of processes that are not there or not ours, and of this machine.
tests/erlang/py_stats_SUITE.erl has it look at a node that runs."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import pty
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import erlang
import pytest
from conftest import EXAMPLES, wait_until
from erlang import _native

from penstock import layout, looks, segments
from penstock.__main__ import main
from penstock.layout import BellsAt, BufferAt, ChannelAt, Known, LinkAt, Mpsc, NodeAt, RingAt

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
CAPACITY = 4096
CHANNEL = 2 * mmap.PAGESIZE
PACKAGE = str(Path(looks.__file__).resolve().parent.parent)


class Memfds:
    """Of this process, by names that say that they are Penstock's."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def new(self, name: str, size: int, seals: int = SEALS) -> Memory:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._open.append(descriptor)
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return Memory(descriptor)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())


class Memory:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def u32(self, at: int, value: int) -> None:
        os.pwrite(self.descriptor, struct.pack("<I", value), at)

    def u64(self, at: int, value: int) -> None:
        os.pwrite(self.descriptor, struct.pack("<Q", value), at)

    def all(self) -> bytes:
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)


@pytest.fixture
def memfds() -> Iterator[Memfds]:
    made = Memfds()
    yield made
    made.close()


@pytest.fixture
def channel(memfds: Memfds) -> Memory:
    """An empty one."""
    memory = memfds.new("penstock-channel", CHANNEL)
    memory.u32(ChannelAt.magic, Known.channel_magic)
    memory.u32(ChannelAt.version, Known.channel_version)
    memory.u64(ChannelAt.capacity, CAPACITY)
    memory.u64(ChannelAt.max_size, 1024)
    ring(memory, ChannelAt.ring, Known.several_producers, CAPACITY)
    return memory


def ring(memory: Memory, at: int, kind: int, capacity: int) -> None:
    memory.u32(at + RingAt.magic, Known.ring_magic)
    memory.u32(at + RingAt.version, Known.ring_version)
    memory.u32(at + RingAt.kind, kind)
    memory.u64(at + RingAt.capacity, capacity)


def claim(memory: Memory, position: int, state: int, owner: int, size: int) -> None:
    granules = CAPACITY // Mpsc.granule
    entry = (position // granules) << Mpsc.entry_lap | state << Mpsc.entry_state | (
        owner << Mpsc.entry_owner) | size
    memory.u64(ChannelAt.ring + RingAt.records + 8 * (position % granules), entry)


def tail(memory: Memory, end: int, length: int, owner: int, closed: bool = False) -> None:
    memory.u64(ChannelAt.ring + RingAt.tail, end << Mpsc.tail_position | (
        length << Mpsc.tail_length) | owner << Mpsc.tail_owner | closed)


def look() -> looks.Look:
    return looks.Watch(os.getpid()).look()


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    path = [PACKAGE, os.environ.get("PYTHONPATH", "")]
    return subprocess.run([sys.executable, "-B", "-m", "penstock", *words], text=True,
                          capture_output=True, timeout=100,
                          env=os.environ | {"PYTHONPATH": ":".join(path)}, **options)


# The layout

@pytest.mark.parametrize("name", layout.TABLES)
def test_the_layout_is_that_of_the_memory(name: str) -> None:
    known = {key: value for key, value in vars(layout.TABLES[name]).items()
             if not key.startswith("_")}
    assert known == _native._layout()[name]


def test_each_table_is_known() -> None:
    assert layout.TABLES.keys() == _native._layout().keys()


# Memory

def test_an_empty_channel(channel: Memory) -> None:
    (found,) = look().channels
    assert (found.used, found.messages, found.closed, found.taking) == (0, 0, False, None)
    assert (found.capacity, found.max_size, found.content) == (CAPACITY, 1024, "terms")
    assert found.mapped_by == []


def test_records_of_every_kind_are_told_apart(channel: Memory) -> None:
    at = 64 * 7 + 60
    channel.u64(ChannelAt.ring + RingAt.head, at)
    claim(channel, at, Mpsc.committed, 2, 100)
    claim(channel, at + 2, Mpsc.aborted, 3, 2)  # Its padding goes on to the ring's start.
    claim(channel, at + 4, Mpsc.claimed, 4, 3)
    claim(channel, at + 7, Mpsc.committed, 2, 0)
    tail(channel, at + 9, 1, 5)  # The last one is not in its entry yet.
    (found,) = look().channels
    assert (found.used, found.messages, found.unfinished) == (9 * 64, 2, [3, 4])
    assert found.fill == 9 * 64 / CAPACITY


def test_what_is_read_in_place(channel: Memory) -> None:
    channel.u64(ChannelAt.ring + RingAt.head, 10)
    channel.u64(ChannelAt.next, 13)
    channel.u64(ChannelAt.leases + 8 * 13, 10 << 8 | 3)
    claim(channel, 13, Mpsc.committed, 1, 5)
    tail(channel, 14, 1, 1)
    (found,) = look().channels  # Not leased: an entry of the past.
    assert (found.pinned, found.readers, found.used, found.messages) == (0, [], 256, 0)
    channel.u32(ChannelAt.leased, 1)
    (found,) = look().channels
    assert (found.pinned, found.readers, found.used, found.messages) == (192, [2], 256, 1)
    channel.u64(ChannelAt.next, 9)  # Before the head.
    (found,) = look().channels
    assert (found.pinned, found.used) == (0, 256)


def test_marks_are_processes(channel: Memory) -> None:
    channel.u64(ChannelAt.data, 1 << 63 | 1)
    channel.u64(ChannelAt.space, 6)
    channel.u64(ChannelAt.senders, 0)
    channel.u32(ChannelAt.consumer, 0x100 | 63 + 1)
    channel.u32(ChannelAt.content, 1)
    tail(channel, 0, 0, 0, closed=True)
    (found,) = look().channels
    assert (found.waiting_for_data, found.waiting_for_space, found.senders) == ([0, 63], [1, 2], [])
    assert (found.taking, found.others_want_to_take, found.closed) == (63, True, True)
    assert found.content == "bytes"


def test_a_link_and_its_rates(memfds: Memfds) -> None:
    memory = memfds.new("penstock-link", -(-LinkAt.bytes // mmap.PAGESIZE) * mmap.PAGESIZE)
    for at in (LinkAt.to_worker, LinkAt.to_vm):
        ring(memory, at, Known.one_producer, LinkAt.capacity)
    memory.u32(LinkAt.worker_asleep, 1)
    memory.u64(LinkAt.to_vm + RingAt.head, (1 << 64) - 8)
    memory.u64(LinkAt.to_vm + RingAt.tail, 8 | 1)
    watch = looks.Watch(os.getpid())
    (first,) = watch.look().links
    assert (first.to_worker.receiver_is_asleep, first.to_vm.receiver_is_asleep) == (True, False)
    assert (first.to_worker.used, first.to_vm.used, first.worker) == (0, 16, None)
    assert first.to_vm.bytes_per_second is None
    memory.u64(LinkAt.to_vm + RingAt.tail, 8008)
    (second,) = watch.look().links
    assert second.to_vm.bytes_per_second is not None and second.to_vm.bytes_per_second > 0
    assert second.to_worker.bytes_per_second == 0


def test_a_buffer_and_its_rates(memfds: Memfds) -> None:
    memory = memfds.new("penstock-buffer", BufferAt.bytes + CAPACITY)
    memory.u64(0, Known.buffer_magic | Known.buffer_version << 32)
    memory.u64(BufferAt.capacity, CAPACITY)
    memory.u64(BufferAt.max_size, 1000)
    for at, value in ((BufferAt.written, 900), (BufferAt.read, 500), (BufferAt.given_back, 400),
                      (BufferAt.data, 4), (BufferAt.space, 1)):
        memory.u64(at, value)
    memory.u32(BufferAt.end, 2)
    memory.u32(BufferAt.reader, 3)
    watch = looks.Watch(os.getpid())
    (first,) = watch.look().buffers
    assert (first.used, first.unread, first.fill, first.state) == (500, 400, 0.5, "aborted")
    assert (first.waiting_for_data, first.waiting_for_space, first.reader) == ([2], [0], 2)
    memory.u64(BufferAt.read, (1 << 64) - 1)  # Nobody can have read that.
    memory.u32(BufferAt.closed, 1)
    memory.u32(BufferAt.reader, 99)
    (second,) = watch.look().buffers
    assert (second.unread, second.state, second.reader) == (0, "closed by its reader", None)
    assert second.in_bytes == 0
    for at, value in ((BufferAt.version, 2), (BufferAt.magic, 0)):
        memory.u32(at, value)
        found = watch.look()
        assert found.buffers == [] and len(found.others) == 1
    memory.u64(0, Known.buffer_magic | Known.buffer_version << 32)
    memory.u64(BufferAt.capacity, 1 << 60)
    assert "a buffer for" in str(watch.look().others)


def test_members_and_a_node(memfds: Memfds) -> None:
    bells = memfds.new("penstock-bells", BellsAt.stride * BellsAt.processes)
    for number, pid in ((0, os.getpid()), (5, 0x7FFFFFFF)):
        bells.u32(BellsAt.stride * number + BellsAt.pid, pid)
        bells.u32(BellsAt.stride * number, 10 + number)
    node = memfds.new("penstock-node", mmap.PAGESIZE)
    node.u32(NodeAt.magic, Known.node_magic)
    node.u32(NodeAt.version, Known.node_version)
    node.u64(NodeAt.pinned_bytes, 1 << 33)
    node.u64(NodeAt.calls, (1 << 64) - 1)
    found = look()
    assert [(each.number, each.pid, each.bell) for each in found.members] == [
        (0, os.getpid(), 10), (5, 0x7FFFFFFF, 15)]
    assert found.members[0].name and found.members[1].name is None
    assert found.node is not None and found.node["pinned_bytes"] == 1 << 33
    assert found.node["calls"] == -1


@pytest.mark.parametrize(("name", "spoil", "problem"), [
    ("channel", lambda m: m.u32(ChannelAt.magic, 1), "it is no channel"),
    ("channel", lambda m: m.u32(ChannelAt.version, 77), "a channel of version 77"),
    ("channel", lambda m: m.u64(ChannelAt.capacity, 8192), "its ring is of another size"),
    ("channel", lambda m: m.u32(ChannelAt.ring + RingAt.magic, 0), "there is no ring"),
    ("channel", lambda m: m.u32(ChannelAt.ring + RingAt.version, 9), "a ring of version 9"),
    ("channel", lambda m: m.u32(ChannelAt.ring + RingAt.kind, 1), "a ring of another kind"),
    ("channel", lambda m: m.u64(ChannelAt.ring + RingAt.capacity, 4097), "a ring of 4097 bytes"),
    ("channel", lambda m: m.u64(ChannelAt.ring + RingAt.capacity, 1 << 62), "bytes in 8192"),
])
def test_what_is_wrong_is_told(channel: Memory, name: str, spoil: Callable[[Memory], None],
                               problem: str) -> None:
    spoil(channel)
    found = look()
    assert found.channels == []
    (other,) = found.others
    assert problem in (other.problem or "")


def test_what_is_too_short_or_not_sealed_is_told(memfds: Memfds) -> None:
    names = ("channel", "buffer", "link", "bells", "node", "whatever")
    for name in names:
        memfds.new(f"penstock-{name}", 16)
        memfds.new(f"penstock-{name}", 0)
        memfds.new(f"penstock-{name}", 1 << 20, fcntl.F_SEAL_SHRINK)
        memfds.new(f"penstock-{name}", 1 << 40)
    found = look()
    assert (found.channels, found.links, found.members, found.node) == ([], [], [], None)
    problems = [other.problem for other in found.others]
    assert problems.count("its size is not sealed") == len(names)
    assert sum("mapped" in (problem or "") for problem in problems) == len(names)


def test_positions_that_cannot_be_are_cut(channel: Memory) -> None:
    channel.u64(ChannelAt.ring + RingAt.tail, (1 << 64) - 1)
    channel.u64(ChannelAt.ring + RingAt.head, 12345)
    (found,) = look().channels
    assert (found.used, found.fill, found.messages_are_exact) == (CAPACITY, 1.0, False)


def test_whatever_is_written_is_looked_at(channel: Memory, memfds: Memfds) -> None:
    link = memfds.new("penstock-link", -(-LinkAt.bytes // mmap.PAGESIZE) * mmap.PAGESIZE)
    memfds.new("penstock-bells", BellsAt.stride * BellsAt.processes)
    watch = looks.Watch(os.getpid())
    random.seed(6)
    values = (0, 1, 63, 64, 65, 255, 4096, 1 << 20, (1 << 43) + 5, (1 << 63) - 1, (1 << 64) - 1)
    for _ in range(min(EXAMPLES, 200)):
        at = 8 * random.choice((random.randrange(CHANNEL // 8), random.randrange(120), 48 + 16))
        word = random.choice((*values, random.getrandbits(64)))
        channel.u64(at, word)
        if random.random() < 0.5:
            link.u64(at, word)
        if random.random() < 0.1:  # So that not all of it is refused for ever.
            for place, kind in ((ChannelAt.ring, Known.several_producers),):
                ring(channel, place, kind, CAPACITY)
            channel.u64(0, Known.channel_magic | Known.channel_version << 32)
            channel.u64(ChannelAt.capacity, CAPACITY)
        found = watch.look()
        assert len(found.channels) + len(found.links) + len(found.others) >= 2
        json.dumps(found.as_json())


def test_an_entry_for_each_granule_is_a_bounded_walk(memfds: Memfds) -> None:
    capacity = 1 << 26
    size = ChannelAt.ring + RingAt.records + capacity // 8 + capacity
    memory = memfds.new("penstock-channel", -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    memory.u64(0, Known.channel_magic | Known.channel_version << 32)
    memory.u64(ChannelAt.capacity, capacity)
    ring(memory, ChannelAt.ring, Known.several_producers, capacity)
    granules = capacity // Mpsc.granule
    entries = struct.pack("<Q", Mpsc.committed << Mpsc.entry_state | 1 << Mpsc.entry_owner)
    os.pwrite(memory.descriptor, entries * granules, ChannelAt.ring + RingAt.records)
    tail(memory, granules, 1, 1)
    (found,) = look().channels
    assert (found.messages, found.messages_are_exact) == (granules, False)


def test_looking_leaves_nothing_and_changes_nothing(channel: Memory) -> None:
    def state() -> tuple[list[str], bool, bytes]:
        maps = Path("/proc/self/maps").read_text()
        return sorted(os.listdir("/proc/self/fd")), "memfd:penstock" in maps, channel.all()

    watch = looks.Watch(os.getpid())
    before = state()
    for _ in range(3):
        watch.look()
    assert state() == before


def test_the_mapping_is_read_only(channel: Memory) -> None:
    (segment,) = segments.segments(os.getpid())
    with segments.mapped(segment) as memory:
        with pytest.raises(TypeError):
            memory.words._memory[0] = 1
        (line,) = [line for line in Path("/proc/self/maps").read_text().splitlines()
                   if "memfd:penstock" in line]
        assert line.split()[1] == "r--s"


def test_no_other_memory_is_opened(memfds: Memfds) -> None:
    """What merely has such a name in its path is none of ours."""
    read_end, write_end = os.pipe()
    try:
        memfds.new("somebody-else", 4096)
        assert segments.segments(os.getpid()) == []
        pipe = segments.Segment(os.getpid(), read_end, "penstock-channel")
        with pytest.raises(segments.Damaged), segments.mapped(pipe):
            pass
    finally:
        os.close(read_end)
        os.close(write_end)


# The command

def test_top_shows_this_process(channel: Memory) -> None:
    claim(channel, 0, Mpsc.committed, 1, 5)
    tail(channel, 1, 1, 1)
    done = run("top", str(os.getpid()), "--once", "--interval", "0.01")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^ *{channel.descriptor} +terms +2% +0 +1 +0 +0 +0 +0 +- +- +-$",
                     done.stdout, re.MULTILINE)


def test_top_in_json_goes_on(channel: Memory) -> None:
    with subprocess.Popen(
            [sys.executable, "-B", "-m", "penstock", "top", str(os.getpid()), "--json",
             "--interval", "0.01"], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": PACKAGE}) as process:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        process.stdout.close()  # It ends: nobody reads.
        assert process.wait(60) == 0
    assert first["channels"][0]["rates"]["in_bytes"] == 0
    assert second["when"] > first["when"]


def test_top_ends_with_its_process(memfds: Memfds) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "import os; os.memfd_create('penstock-x'); print(1, flush=True); "
         "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    child.stdout.readline()
    with subprocess.Popen([sys.executable, "-B", "-m", "penstock", "top", str(child.pid),
                           "--json", "--interval", "0.01"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": PACKAGE}) as top:
        assert top.stdout is not None and top.stderr is not None
        top.stdout.readline()
        child.communicate("\n")
        top.stdout.read()
        assert top.stderr.read() == f"penstock top: there is no process {child.pid}\n"
    assert top.returncode == 1


def test_top_is_live_on_a_terminal(channel: Memory) -> None:
    """It redraws, and `q` ends it, with the terminal as it was."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(
            [sys.executable, "-B", "-m", "penstock", "top", str(os.getpid()), "--interval", "0.01"],
            stdin=theirs, stdout=theirs, stderr=theirs,
            env=os.environ | {"PYTHONPATH": PACKAGE, "COLUMNS": "60", "LINES": "40"}) as process:
        seen = b""
        while seen.count(b"\x1b[H\x1b[J") < 3:
            seen += os.read(ours, 65536)
        os.write(ours, b"q")
        while b"\x1b[?1049l" not in seen:
            seen += os.read(ours, 65536)
        assert process.wait(60) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
    assert re.search(rb"\n *\d+ +terms +0% ", seen)
    assert max(map(len, re.split(rb"(?:\x1b\[[?0-9]*\w)+|\r\n", seen))) <= 60


def test_no_such_process() -> None:
    done = run("top", "99999999")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "penstock top: there is no process 99999999\n"


def test_a_process_that_shares_nothing() -> None:
    done = run("top", str(os.getpid()), "--once")
    assert done.returncode == 1
    assert re.fullmatch(rf"penstock top: process {os.getpid()} \(.*\) shares no memory of "
                        r"Penstock's\n", done.stderr)


def test_a_process_of_another_user(channel: Memory) -> None:
    """Somebody else looks at us; without the right to be somebody else we look at root's."""
    if os.getuid() != 0:
        assert "of root: run this as that user, or as root" in run("top", "1").stderr
        return
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.dup2(write_end, 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os._exit(main(["top", str(os.getppid()), "--once"]))
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        told = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert told == (f"penstock top: not permitted to look at process {os.getpid()} of root: "
                    "run this as that user, or as root\n")


@pytest.mark.parametrize("words", [(), ("top", "x"), ("top", "--interval", "0"), ("dance",)])
def test_what_is_not_understood(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: penstock")


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"penstock {erlang.__version__}\n"


PEER = """
import sys
import erlang
channel = erlang.shared_channel(sys.argv[1])
print(channel.receive(), flush=True)
print(channel.receive(), flush=True)
"""


def test_processes_without_erlang_are_seen() -> None:
    """Both ends: this one made the channel, the other one waits for a message."""
    address = f"@penstock-top-{os.getpid()}"
    channel = erlang.shared_channel(address, create=True, max_size=1024)
    with subprocess.Popen([sys.executable, "-B", "-c", PEER, address],
                          stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdout is not None
        channel.send("first")
        assert peer.stdout.readline() == "first\n"
        # Who made it is in there more than once.
        (number,) = {each.number for each in look().members if each.pid == peer.pid}
        assert {each.pid for each in look().members} == {os.getpid(), peer.pid}
        wait_until(lambda: look().channels[0].waiting_for_data == [number])
        (shown,) = look().channels
        assert (shown.messages, shown.max_size, sorted(shown.mapped_by)) == (0, 1024, sorted(
            [os.getpid(), peer.pid]))
        there = json.loads(run("top", str(peer.pid), "--once", "--json",
                               "--interval", "0.01").stdout)
        assert {each["pid"] for each in there["members"]} == {os.getpid(), peer.pid}
        channel.send("second")
        assert peer.wait(60) == 0
    channel.send("nobody waits")
    (shown,) = look().channels
    assert (shown.messages, shown.waiting_for_data) == (1, [])
    channel.close()


# penstock doctor

def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    told = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0)
    return {finding["name"]: finding for finding in told["checks"]}


def test_this_machine_is_well() -> None:
    found = findings(run("doctor", "--json"))
    assert {name for name, finding in found.items() if finding["state"] == "failed"} == set()
    assert all(finding["advice"] for finding in found.values() if finding["state"] != "ok")
    assert found["otp"]["state"] == "ok"
    backend = "io_uring" if _native._try_io_uring() == 0 else "epoll"
    if "PENSTOCK_LOOP_BACKEND" not in os.environ:
        assert f"take {backend}" in found["io_uring"]["found"] or (
            backend == "io_uring" and found["io_uring"]["state"] == "ok")
    text = run("doctor")
    assert text.returncode == 0
    assert [line.split()[1] for line in text.stdout.splitlines() if line[0] != " "] == list(found)


def test_limits_are_told_of() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = run("doctor", "--json", preexec_fn=limit)
    found = findings(done)
    assert done.returncode == 1
    assert (found["memfd"]["state"], found["descriptors"]["state"]) == ("failed", "warning")


def test_without_erlang_or_the_extension(tmp_path: Path) -> None:
    shutil.copytree(Path(PACKAGE) / "penstock", tmp_path / "penstock")
    erlang = tmp_path / "erlang"
    erlang.mkdir()
    (erlang / "__init__.py").touch()
    (erlang / "_native.cpython-39-x86_64-linux-gnu.so").touch()
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-B", "-m", "penstock", "doctor", "--json"], text=True,
                          capture_output=True, timeout=100, env=environment)
    found = findings(done)
    assert done.returncode == 1
    assert found["penstock"]["state"] == "failed"
    assert "built for cpython-39" in found["python"]["found"]
    assert (found["otp"]["state"], found["io_uring"]["state"]) == ("warning", "warning")
