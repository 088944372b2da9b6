# SPDX-License-Identifier: Apache-2.0
"""The Python half of the pipeline: takes files from a channel, replies what is in them; or takes
blocks from one channel and sends their digests to another."""

import hashlib

from erlang.channel import Channel, reply


def work(channel_ref):
    """Serve the channel until it is closed and drained; returns how many files that were."""
    served = 0
    for _, pid, path, content in Channel(channel_ref):
        digest = hashlib.sha256(content).digest()
        reply(pid, ('result', path, digest, content.count(b'\n'), len(content.split())))
        served += 1
    return served


def digest(work_ref, digests_ref):
    """Digests of numbered blocks, until the channel of blocks is closed; how many."""
    served = 0
    digests = Channel(digests_ref)
    for number, block in Channel(work_ref):
        digests.send((number, hashlib.sha256(block).digest()))
        served += 1
    return served
