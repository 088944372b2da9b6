# SPDX-License-Identifier: Apache-2.0
"""Erlang, seen from Python: channels, buffers, messages to processes, Erlang's own types."""

from erlang._native import (
    ApplicationStopped,
    Atom,
    BodyTruncated,
    BufferAborted,
    Channel,
    ChannelClosed,
    Fun,
    Pid,
    Port,
    ProcessError,
    PyBuffer,
    Ref,
    SuspensionRequired,
    atom,
    reply,
    send,
    whereis,
)

__version__ = "0.1.0"

__all__ = [
    "ApplicationStopped",
    "Atom",
    "BodyTruncated",
    "BufferAborted",
    "Channel",
    "ChannelClosed",
    "Fun",
    "Pid",
    "Port",
    "ProcessError",
    "PyBuffer",
    "Ref",
    "SuspensionRequired",
    "atom",
    "reply",
    "send",
    "whereis",
]
