# SPDX-License-Identifier: Apache-2.0
"""Channels: queues of messages between Erlang and Python."""

from erlang._native import Channel, ChannelClosed, reply

__all__ = ["Channel", "ChannelClosed", "reply"]
