# SPDX-License-Identifier: Apache-2.0
"""The baseline of bench/calls.escript: a python3 behind a {packet, 4} port. A frame that begins
with 'c' is a call of math.pow, with 'm' asks for the median time of a call the other way, in us."""

import math
import statistics
import struct
import sys
import time

read = sys.stdin.buffer.read
write = sys.stdout.buffer.write
flush = sys.stdout.buffer.flush


def receive():
    head = read(4)
    return read(struct.unpack(">I", head)[0]) if head else b""


def send(frame):
    write(struct.pack(">I", len(frame)) + frame)
    flush()


def latency(count):
    times = []
    for number in range(count):
        begun = time.perf_counter_ns()
        send(b"e" + struct.pack(">Q", number))
        receive()
        times.append(time.perf_counter_ns() - begun)
    return statistics.median(times) / 1000


while frame := receive():
    if frame[:1] == b"c":
        tag, left, right = struct.unpack(">Qdd", frame[1:])
        send(b"r" + struct.pack(">Qd", tag, math.pow(left, right)))
    else:
        send(b"m" + struct.pack(">d", latency(struct.unpack(">Q", frame[1:])[0])))
