# SPDX-License-Identifier: Apache-2.0
"""The Python half of the pipeline: takes files from a channel, replies what is in them."""

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
