# SPDX-License-Identifier: Apache-2.0
"""port_terms.py COUNT: a {packet, 4} port whose loop gets terms, as that of a channel does.

The decoder is for the few tags that are sent, in plain Python, which is what a program without a
native decoder has; a whole one has more cases to tell apart, and is slower."""

import struct
import sys

from collections import namedtuple

Pid = namedtuple("Pid", "node id serial creation")
_size_of = struct.Struct(">I").unpack
_pid_of = struct.Struct(">III").unpack_from
_long_of = struct.Struct(">I").unpack_from


def decode(frame, at):
    tag = frame[at]
    if tag == 104:  # A tuple of less than 256.
        elements = []
        place = at + 2
        for _ in range(frame[at + 1]):
            element, place = decode(frame, place)
            elements.append(element)
        return tuple(elements), place
    if tag == 109:  # A binary.
        (size,) = _long_of(frame, at + 1)
        return frame[at + 5:at + 5 + size], at + 5 + size
    if tag == 119:  # An atom.
        end = at + 2 + frame[at + 1]
        return frame[at + 2:end].decode(), end
    if tag == 100:
        end = at + 3 + (frame[at + 1] << 8 | frame[at + 2])
        return frame[at + 3:end].decode("latin-1"), end
    if tag == 88:  # A pid.
        node, place = decode(frame, at + 1)
        return Pid(node, *_pid_of(frame, place)), place + 12
    raise ValueError(f"tag {tag}")


def messages(read, count):
    for _ in range(count):
        frame = read(_size_of(read(4))[0])
        if frame[0] != 131:
            raise ValueError("not a term")
        yield decode(frame, 1)[0]


def main(count):
    got = 0
    for message in messages(sys.stdin.buffer.read, count):
        got += len(message) == 3
    sys.stdout.buffer.write(struct.pack(">I", 2) + (b"ok" if got == count else b"no"))
    sys.stdout.buffer.flush()


main(int(sys.argv[1]))
