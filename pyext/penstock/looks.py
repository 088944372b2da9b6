# SPDX-License-Identifier: Apache-2.0
"""One look at all the memory that a process shares, and what has changed since another one."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from penstock import segments
from penstock.layout import BellsAt, BufferAt, ChannelAt, Known, LinkAt, Mpsc, NodeAt
from penstock.rings import POSITIONS, ManyProducers, OneProducer
from penstock.segments import Damaged, Mapped, Words

_CONTENTS: Final = {0: "terms", 1: "bytes"}
_ENDS: Final = {0: "open", 1: "closed", 2: "aborted"}
_WANTED: Final = 1 << 8
_SAMPLE: Final = 16
"""Records that say how long others are."""
_SAMPLES: Final = 20
"""Channels of which a look waits for records to pass."""
_COUNTERS: Final = ("contexts", "calls", "channels", "buffers", "waiters", "event_loops",
                    "pinned_bytes", "atoms_created", "dropped_sends")


@dataclass(frozen=True)
class Rates:
    """Of a second. `*_messages` is None while it cannot be told."""

    in_bytes: float
    out_bytes: float
    in_messages: float | None
    out_messages: float | None


@dataclass
class ChannelLook:
    """Processes are named by their numbers. `pinned` of the `used` bytes lie before the next
    message, because `readers` read some where they lie."""

    descriptor: int
    inode: int
    content: str
    capacity: int
    max_size: int
    used: int
    fill: float
    messages: int
    messages_are_exact: bool
    pinned: int
    readers: list[int]
    unfinished: list[int]
    closed: bool
    waiting_for_data: list[int]
    waiting_for_space: list[int]
    senders: list[int]
    taking: int | None
    others_want_to_take: bool
    mapped_by: list[int] = field(default_factory=list)
    rates: Rates | None = None


@dataclass
class BufferLook:
    """A stream, which the process that made it writes. `used` of `max_size` bytes cannot be written
    over, `unread` of these were not read."""

    descriptor: int
    inode: int
    max_size: int
    used: int
    fill: float
    unread: int
    state: str
    waiting_for_data: list[int]
    waiting_for_space: list[int]
    reader: int | None
    mapped_by: list[int] = field(default_factory=list)
    in_bytes: float | None = None
    out_bytes: float | None = None


@dataclass
class DirectionLook:
    used: int
    capacity: int
    receiver_is_asleep: bool
    sender_wants_room: bool
    bytes_per_second: float | None = None


@dataclass
class LinkLook:
    """Between a VM and a worker process, whose pid is None if it cannot be told."""

    descriptor: int
    inode: int
    worker: int | None
    to_worker: DirectionLook
    to_vm: DirectionLook


@dataclass(frozen=True)
class Member:
    """A process that shares channels: the descriptor of the bells that it has one of, its number,
    its pid as it says it, and how often it was called from its sleep, modulo 2^32."""

    bells: int
    number: int
    pid: int
    name: str | None
    bell: int


@dataclass(frozen=True)
class Other:
    """What cannot be read, or means nothing to us."""

    descriptor: int
    name: str
    problem: str | None


@dataclass
class Look:
    pid: int
    name: str
    when: float
    node: dict[str, int] | None = None
    members: list[Member] = field(default_factory=list)
    channels: list[ChannelLook] = field(default_factory=list)
    buffers: list[BufferLook] = field(default_factory=list)
    links: list[LinkLook] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    shared_bytes: int = 0
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Positions:
    when: float
    head: int
    tail: int


class Watch:
    """Looks at one process again and again. Keeps nothing of it between two looks but numbers."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before: dict[tuple[int, str], _Positions] = {}
        self._now: dict[tuple[int, str], _Positions] = {}
        self._samples = 0

    def look(self) -> Look:
        """CannotLook: it has ended, or is somebody else's."""
        found = segments.segments(self._pid)
        look = Look(self._pid, segments.name_of(self._pid) or "?", time.time())
        self._now = {}
        self._samples = _SAMPLES
        seen: set[int] = set()
        for segment in found:
            try:
                with segments.mapped(segment) as memory:
                    if memory.inode not in seen:
                        seen.add(memory.inode)
                        self._add(look, memory)
            except Damaged as problem:
                look.others.append(Other(segment.descriptor, segment.name, str(problem)))
        self._before = self._now
        _tell_who_maps(look)
        return look

    def _add(self, look: Look, memory: Mapped) -> None:
        look.shared_bytes += memory.words.size
        match memory.segment.name:
            case "penstock-channel":
                look.channels.append(self._channel(memory))
            case "penstock-buffer":
                look.buffers.append(self._buffer(memory))
            case "penstock-link":
                look.links.append(self._link(memory))
            case "penstock-bells":
                look.members += _members(memory)
            case "penstock-node":
                look.node = _node(memory.words)
            case _:
                look.others.append(Other(memory.segment.descriptor, memory.segment.name, None))

    # Channels

    def _channel(self, memory: Mapped) -> ChannelLook:
        words = memory.words
        _check_channel(words)
        ring = ManyProducers(words, ChannelAt.ring)
        capacity = words.u64(ChannelAt.capacity)
        if capacity != ring.capacity:
            raise Damaged("its ring is of another size")
        head = ring.head()
        tail, is_closed = ring.tail()
        used = ring.used(head, tail)
        leased = words.u32(ChannelAt.leased) != 0
        taken = words.u64(ChannelAt.next) & POSITIONS if leased else head
        if (taken - head) & POSITIONS > used // Mpsc.granule:
            taken = head  # They do not belong together.
        walk = ring.walk(taken, tail)
        messages = walk.records
        if not walk.is_whole and walk.granules:
            waiting = ring.used(taken, tail)
            messages = round(walk.records * waiting / (walk.granules * Mpsc.granule))
        consumer = words.u32(ChannelAt.consumer)
        mean = walk.granules / walk.records if walk.records >= _SAMPLE else None
        rates = self._rates((memory.inode, "channel"), ring,
                            _Positions(time.monotonic(), taken, tail), mean)
        return ChannelLook(
            descriptor=memory.segment.descriptor, inode=memory.inode,
            content=_CONTENTS.get(words.u32(ChannelAt.content), "?"), capacity=capacity,
            max_size=words.u64(ChannelAt.max_size), used=used, fill=used / capacity,
            pinned=((taken - head) & POSITIONS) * Mpsc.granule,
            readers=_readers(words) if leased else [],
            messages=messages, messages_are_exact=walk.is_whole, unfinished=walk.unfinished,
            closed=is_closed, waiting_for_data=_numbers(words.u64(ChannelAt.data)),
            waiting_for_space=_numbers(words.u64(ChannelAt.space)),
            senders=_numbers(words.u64(ChannelAt.senders)),
            taking=(consumer & 0xFF) - 1 if consumer & 0xFF else None,
            others_want_to_take=consumer & _WANTED != 0, rates=rates)

    def _rates(self, key: tuple[int, str], ring: ManyProducers, now: _Positions,
               mean: float | None) -> Rates | None:
        """`mean`: granules of a record, if that is known: for when more has passed since the last
        look than the ring can tell of."""
        self._now[key] = now
        before = self._before.get(key)
        if before is None or now.when <= before.when:
            return None
        seconds = now.when - before.when
        taken = (now.head - before.head) & POSITIONS
        added = (now.tail - before.tail) & POSITIONS

        def messages(start: int, end: int, granules: int) -> float | None:
            nonlocal mean
            if granules == 0:
                return 0.0
            walk = ring.walk(start, end)
            if walk.is_whole:
                return (walk.records + len(walk.unfinished)) / seconds
            if mean is None and self._samples > 0:
                self._samples -= 1
                mean = ring.sample()
            return granules / mean / seconds if mean else None

        return Rates(added * Mpsc.granule / seconds, taken * Mpsc.granule / seconds,
                     messages(before.tail, now.tail, added), messages(before.head, now.head,
                                                                      taken))

    # Buffers

    def _buffer(self, memory: Mapped) -> BufferLook:
        words = memory.words
        if words.u32(BufferAt.magic) != Known.buffer_magic:
            raise Damaged("it is no buffer")
        version = words.u32(BufferAt.version)
        if version != Known.buffer_version:
            raise Damaged(f"a buffer of version {version}; this command knows "
                          f"{Known.buffer_version}")
        max_size = words.u64(BufferAt.max_size)
        if not 0 < max_size <= words.u64(BufferAt.capacity) <= words.size - BufferAt.bytes:
            raise Damaged(f"a buffer for {max_size} bytes in {words.size}")
        # In this order: no position is above the next.
        given_back, read = words.u64(BufferAt.given_back), words.u64(BufferAt.read)
        written = words.u64(BufferAt.written)
        used = min(max(written - given_back, 0), max_size)
        end = words.u32(BufferAt.end)
        reader = words.u32(BufferAt.reader)
        state = "closed by its reader" if words.u32(BufferAt.closed) else _ENDS.get(end, "?")
        now = _Positions(time.monotonic(), read, written)
        before = self._before.get((memory.inode, "buffer"))
        self._now[memory.inode, "buffer"] = now
        look = BufferLook(
            memory.segment.descriptor, memory.inode, max_size, used, used / max_size,
            min(max(written - read, 0), used), state, _numbers(words.u64(BufferAt.data)),
            _numbers(words.u64(BufferAt.space)), reader - 1 if 0 < reader <= 64 else None)
        if before is not None and now.when > before.when:
            seconds = now.when - before.when
            look.in_bytes = max(written - before.tail, 0) / seconds
            look.out_bytes = max(read - before.head, 0) / seconds
        return look

    # Links

    def _link(self, memory: Mapped) -> LinkLook:
        words = memory.words
        if words.size < LinkAt.bytes:
            raise Damaged(f"a link of {words.size} bytes")
        to_worker = self._direction(memory, LinkAt.to_worker, LinkAt.worker_asleep,
                                    LinkAt.vm_wants_room)
        to_vm = self._direction(memory, LinkAt.to_vm, LinkAt.vm_asleep, LinkAt.worker_wants_room)
        return LinkLook(memory.segment.descriptor, memory.inode, None, to_worker, to_vm)

    def _direction(self, memory: Mapped, at: int, asleep: int, wants_room: int) -> DirectionLook:
        words = memory.words
        ring = OneProducer(words, at, LinkAt.capacity)
        head, tail = ring.head(), ring.tail()
        now = _Positions(time.monotonic(), head, tail)
        before = self._before.get((memory.inode, str(at)))
        self._now[memory.inode, str(at)] = now
        rate = None
        if before is not None and now.when > before.when:
            rate = ((tail - before.tail) % (1 << 64)) / (now.when - before.when)
        return DirectionLook(ring.used(head, tail), ring.capacity, words.u32(asleep) != 0,
                             words.u32(wants_room) != 0, rate)


def _check_channel(words: Words) -> None:
    if words.u32(ChannelAt.magic) != Known.channel_magic:
        raise Damaged("it is no channel")
    version = words.u32(ChannelAt.version)
    if version != Known.channel_version:
        raise Damaged(f"a channel of version {version}; this command knows "
                      f"{Known.channel_version}")


def _readers(words: Words) -> list[int]:
    leases = (words.u64(ChannelAt.leases + 8 * each) for each in range(Known.channel_leases))
    return sorted({(lease & 0xFF) - 1 for lease in leases if lease & 0xFF != 0})


def _numbers(marks: int) -> list[int]:
    return [number for number in range(64) if marks >> number & 1]


def _members(memory: Mapped) -> list[Member]:
    words = memory.words
    if words.size < BellsAt.stride * BellsAt.processes:
        raise Damaged(f"bells of {words.size} bytes")
    found = []
    for number in range(BellsAt.processes):
        at = BellsAt.stride * number
        pid = words.u32(at + BellsAt.pid)
        if pid != 0:
            found.append(Member(memory.segment.descriptor, number, pid, segments.name_of(pid),
                                words.u32(at + BellsAt.rings)))
    return found


def _node(words: Words) -> dict[str, int]:
    if words.u32(NodeAt.magic) != Known.node_magic:
        raise Damaged("it is no node")
    version = words.u32(NodeAt.version)
    if version != Known.node_version:
        raise Damaged(f"a node of version {version}; this command knows {Known.node_version}")
    return {name: words.i64(getattr(NodeAt, name)) for name in _COUNTERS}


def _tell_who_maps(look: Look) -> None:
    """Of those that could: it, its children, and those that say that they share channels."""
    pids = {look.pid} | segments.children_of(look.pid) | {each.pid for each in look.members}
    maps = {pid: segments.inodes_mapped_by(pid) for pid in sorted(pids)}
    shared: list[ChannelLook | BufferLook] = [*look.channels, *look.buffers]
    for each in shared:
        each.mapped_by = [pid for pid, inodes in maps.items() if each.inode in inodes]
    for link in look.links:
        ends = [pid for pid, inodes in maps.items() if link.inode in inodes and pid != look.pid]
        link.worker = ends[0] if len(ends) == 1 else None
    if segments.is_worker(look.pid):
        look.hint = (f"process {look.pid} is a worker process: its channels are to be seen at its "
                     f"node, process {segments.parent_of(look.pid)}")
