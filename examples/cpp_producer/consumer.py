# SPDX-License-Identifier: Apache-2.0
"""Receives what two C++ processes stream: consumer.py PRODUCER [COUNT]"""

import math
import os
import subprocess
import sys
from array import array

import erlang


def main(producer: str, count: int) -> None:
    address = f"@cpp-producer-{os.getpid()}"
    channel = erlang.shared_channel(address, create=True, content="bytes", max_size=65536)
    command = [producer, address, str(count)]
    with subprocess.Popen(command) as first, subprocess.Popen(command) as second:
        received, samples, energy = 0, array("d"), 0.0
        while received < 2 * count:
            samples = array("d", channel.receive_bytes(timeout=60))
            received += 1
            energy += math.fsum(sample * sample for sample in samples)
        channel.close()
    assert first.returncode == second.returncode == 0
    print(f"{received} messages of {len(samples)} samples, mean square "
          f"{energy / (received * len(samples)):.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
