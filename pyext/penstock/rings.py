# SPDX-License-Identifier: Apache-2.0
"""What the words in a ring say, as far as it can be true.

Positions and entries change while they are read, so that what two of them say together is a hint:
it is cut to what is possible, and no look does more than `MOST` steps.
"""

import struct
import time
from dataclasses import dataclass
from typing import Final

from penstock.layout import Known, Mpsc, RingAt
from penstock.segments import Damaged, Words

MOST: Final = 20_000
"""Records that one walk looks at."""
SPAN: Final = 1 << 17
"""Granules that it copies the entries of: 1 MiB."""
SAMPLE_S: Final = 0.002
"""How long a look at what passes may take, and how often it is tried if too much did."""
TRIES: Final = 5

POSITIONS: Final = (1 << (64 - Mpsc.tail_position)) - 1
_LAPS: Final = (1 << (64 - Mpsc.entry_lap)) - 1
_SIZES: Final = (1 << Mpsc.entry_owner) - 1
_TAIL_LENGTHS: Final = (1 << (Mpsc.tail_position - Mpsc.tail_length)) - 1
_BLOCK: Final = Mpsc.short_record // Mpsc.granule


def check(words: Words, ring: int, kind: int) -> int:
    """The capacity of the ring that begins there. Damaged, also if it is of another version."""
    if words.u32(ring + RingAt.magic) != Known.ring_magic:
        raise Damaged("there is no ring")
    version = words.u32(ring + RingAt.version)
    if version != Known.ring_version:
        raise Damaged(f"a ring of version {version}; this command knows {Known.ring_version}")
    if words.u32(ring + RingAt.kind) != kind:
        raise Damaged("a ring of another kind")
    capacity = words.u64(ring + RingAt.capacity)
    if capacity < Mpsc.least_capacity or capacity & (capacity - 1) != 0:
        raise Damaged(f"a ring of {capacity} bytes")
    return capacity


@dataclass(frozen=True)
class Walk:
    """Records between two positions, as far as they could be seen."""

    records: int
    granules: int
    """That these take."""
    unfinished: list[int]
    """Who has begun to write one, by number of the process."""
    is_whole: bool
    """It got to the end."""


class ManyProducers:
    """The ring of a shared channel."""

    def __init__(self, words: Words, ring: int) -> None:
        self._words = words
        self._ring = ring
        self.capacity = check(words, ring, Known.several_producers)
        granules = self.capacity // Mpsc.granule
        if words.size < ring + RingAt.records + 8 * granules + self.capacity:
            raise Damaged(f"a ring of {self.capacity} bytes in {words.size}")
        self.granules = granules
        self._lap = granules.bit_length() - 1

    def head(self) -> int:
        return self._words.u64(self._ring + RingAt.head) & POSITIONS

    def tail(self) -> tuple[int, bool]:
        """Where the last claim ends, and whether the ring is closed."""
        word = self._words.u64(self._ring + RingAt.tail)
        return word >> Mpsc.tail_position, word & 1 != 0

    def last_owner(self) -> int:
        return self._words.u64(self._ring + RingAt.tail) >> Mpsc.tail_owner & 0xFF

    def used(self, head: int, tail: int) -> int:
        """Bytes."""
        return min((tail - head) & POSITIONS, self.granules) * Mpsc.granule

    def walk(self, start: int, end: int) -> Walk:
        """Whole only if nothing has been written over it until it was copied."""
        distance = (end - start) & POSITIONS
        if distance > self.granules:
            return Walk(0, 0, [], False)
        entries = self._entries(start, min(distance, SPAN))
        if (self.tail()[0] - start) & POSITIONS > self.granules:
            return Walk(0, 0, [], False)
        records, at, unfinished = 0, 0, []
        for _ in range(MOST):
            if at >= len(entries):
                break
            entry = entries[at]
            position = (start + at) & POSITIONS
            state = entry >> Mpsc.entry_state & 3
            if state == 0 or (entry >> Mpsc.entry_lap) != position >> self._lap & _LAPS:
                unfinished.append(self.last_owner() - 1)  # The last claim is not in its entry yet.
                break
            length = self._length(entry, state, position)
            if length == 0:
                break
            if state == Mpsc.claimed:
                unfinished.append((entry >> Mpsc.entry_owner & 0xFF) - 1)
            elif state == Mpsc.committed:
                records += 1
            at += length
        return Walk(records, at, unfinished, at == distance)

    def _entries(self, start: int, count: int) -> tuple[int, ...]:
        index = start & (self.granules - 1)
        first = min(count, self.granules - index)
        table = self._ring + RingAt.records
        raw = self._words.copy(table + 8 * index, 8 * first) + self._words.copy(
            table, 8 * (count - first))
        return struct.unpack(f"@{count}Q", raw)

    def _length(self, entry: int, state: int, position: int) -> int:
        """Granules; 0: no entry is like that."""
        size = entry & _SIZES
        if state != Mpsc.committed:
            length = _decoded(size, _SIZES)
            return length if length <= self.granules else 0
        granules = _granules_in(size)
        if granules > self.granules // 2:
            return 0
        to_end = self.granules - (position & (self.granules - 1))
        return _claimed(granules + (to_end if granules > to_end else 0))

    def sample(self) -> float | None:
        """Granules of a record, of those that pass while we look. None: none did."""
        for _ in range(TRIES):
            start = now = self.head()
            until = time.monotonic() + SAMPLE_S
            while (now - start) & POSITIONS < self.granules // 8 and time.monotonic() < until:
                now = self.head()
            walk = self.walk(start, now)
            if walk.records:
                return walk.granules / walk.records
            time.sleep(SAMPLE_S)  # Who sends may need this processor.
        return None


def _decoded(field: int, fields: int) -> int:
    short = fields // 2
    return field if field <= short else (field - short) * _BLOCK


def _granules_in(size: int) -> int:
    if size > Mpsc.short_record:
        return (size - Mpsc.short_record) * _BLOCK
    return max(1, -(-size // Mpsc.granule))


def _claimed(granules: int) -> int:
    return granules if granules < _BLOCK else -(-granules // _BLOCK) * _BLOCK


class OneProducer:
    """One direction of a link."""

    def __init__(self, words: Words, ring: int, capacity: int) -> None:
        self._words = words
        self._ring = ring
        if check(words, ring, Known.one_producer) != capacity:
            raise Damaged("a ring of another size")
        self.capacity = capacity

    def tail(self) -> int:
        """Bytes that were ever written."""
        return self._words.u64(self._ring + RingAt.tail) & ~1

    def head(self) -> int:
        """Bytes that were ever taken."""
        return self._words.u64(self._ring + RingAt.head)

    def used(self, head: int, tail: int) -> int:
        return min((tail - head) % (1 << 64), self.capacity)
