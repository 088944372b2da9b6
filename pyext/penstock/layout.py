# SPDX-License-Identifier: Apache-2.0
"""Where things lie in the memory that processes share: docs/layout.md in numbers.

All that this package knows of the layout is here. tests/python/test_layout.py compares the tables
with the C++ that writes the memory (`_native._layout()`).
"""

from typing import Final


class ChannelAt:
    """A shared channel: SharedHeader, then a ring of several producers."""

    magic: Final = 0
    version: Final = 4
    capacity: Final = 8
    max_size: Final = 16
    content: Final = 24
    data: Final = 128
    space: Final = 136
    senders: Final = 144
    consumer: Final = 256
    leased: Final = 260
    next: Final = 264
    leases: Final = 272
    ring: Final = 384


class RingAt:
    """A ring of either kind, from its start."""

    magic: Final = 0
    version: Final = 4
    kind: Final = 8
    capacity: Final = 16
    tail: Final = 128
    head: Final = 256
    data: Final = 384
    space: Final = 388
    records: Final = 512
    """Of several producers: the entries."""


class BufferAt:
    """A stream that processes share: StreamHeader, then a ring of bytes."""

    magic: Final = 0
    version: Final = 4
    capacity: Final = 8
    max_size: Final = 16
    written: Final = 128
    end: Final = 136
    read: Final = 256
    given_back: Final = 264
    reader: Final = 272
    closed: Final = 280
    data: Final = 384
    space: Final = 400
    readers: Final = 416
    bytes: Final = 4096


class LinkAt:
    """What the VM and a worker process share."""

    vm_asleep: Final = 0
    vm_wants_room: Final = 128
    worker_asleep: Final = 256
    worker_wants_room: Final = 384
    to_worker: Final = 512
    to_vm: Final = 512 + 512 + (1 << 20)
    capacity: Final = 1 << 20
    bytes: Final = 512 + 2 * (512 + (1 << 20))


class BellsAt:
    """The bells of the processes that share channels."""

    stride: Final = 128
    rings: Final = 0
    pid: Final = 4
    processes: Final = 64


class NodeAt:
    """What the VM counts."""

    magic: Final = 0
    version: Final = 4
    channels: Final = 128
    buffers: Final = 136
    waiters: Final = 144
    calls: Final = 152
    contexts: Final = 160
    event_loops: Final = 168
    pinned_bytes: Final = 176
    atoms_created: Final = 184
    dropped_sends: Final = 192


class Known:
    """What says that memory is what it is taken for."""

    channel_magic: Final = 0x6E616863
    channel_version: Final = 1
    channel_leases: Final = 14
    buffer_magic: Final = 0x65706970
    buffer_version: Final = 1
    ring_magic: Final = 0x6B636F74
    ring_version: Final = 1
    one_producer: Final = 1
    several_producers: Final = 2
    node_magic: Final = 0x65646F6E
    node_version: Final = 1


class Mpsc:
    """The words of a ring of several producers."""

    granule: Final = 64
    short_record: Final = 65536
    tail_owner: Final = 1
    tail_length: Final = 9
    tail_position: Final = 20
    entry_owner: Final = 17
    entry_state: Final = 25
    entry_lap: Final = 27
    claimed: Final = 1
    committed: Final = 2
    aborted: Final = 3
    least_capacity: Final = 256


TABLES: Final = {"channel": ChannelAt, "buffer": BufferAt, "ring": RingAt, "link": LinkAt,
                 "bells": BellsAt, "node": NodeAt, "known": Known, "mpsc": Mpsc}
