# SPDX-License-Identifier: Apache-2.0
"""Python halves of py_stats_SUITE."""

import os
import sys

import erlang

watch = None


async def receive_one(source):
    return await erlang.Channel(source).async_receive()


def look(package):
    """At the VM that this runs in: of each channel its descriptor, what is in it, and its rates."""
    global watch
    if watch is None:
        sys.path.append(package)
        from penstock.looks import Watch
        watch = Watch(os.getpid())
    return {channel.descriptor: (channel.messages, channel.used, channel.rates and tuple(
        round(quotient, 6) for quotient in (
            channel.rates.in_messages / channel.rates.out_messages,
            channel.rates.in_bytes / channel.rates.in_messages,
            channel.rates.out_bytes / channel.rates.out_messages)))
        for channel in watch.look().channels}


def drop():
    global watch
    watch = None
