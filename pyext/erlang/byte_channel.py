# SPDX-License-Identifier: Apache-2.0
"""Byte channels: queues of bytes between Erlang and Python, without conversion."""

from erlang._native import ByteChannel, ByteChannelClosed, ByteView

__all__ = ["ByteChannel", "ByteChannelClosed", "ByteView"]
