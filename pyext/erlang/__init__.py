# SPDX-License-Identifier: Apache-2.0
"""Erlang, seen from Python: channels, buffers, messages to processes, Erlang's own types."""

import sys

from erlang import _native, _policy
from erlang._native import (
    ApplicationStopped,
    Atom,
    BodyTruncated,
    BufferAborted,
    ByteChannel,
    ByteChannelClosed,
    ByteView,
    Channel,
    ChannelClosed,
    Fun,
    InlineScheduleMarker,
    Pid,
    Port,
    ProcessError,
    PyBuffer,
    Ref,
    ScheduleMarker,
    SuspensionRequired,
    atom,
    call,
    consume_time_slice,
    reply,
    schedule,
    schedule_inline,
    schedule_py,
    send,
    whereis,
)
from erlang._policy import (
    ErlangEventLoopPolicy,
    EventLoopPolicy,
    ExecutionMode,
    detect_mode,
    get_event_loop_policy,
    install,
)
from erlang._spawn import spawn_task
from erlang.calls import Function, async_call, sleep
from erlang.calls import function as __getattr__
from erlang.eventloop import ErlangEventLoop, new_event_loop, run
from erlang.sharing import invite, shared_channel

__version__ = "0.1.0"

__all__ = [
    "ApplicationStopped",
    "Atom",
    "BodyTruncated",
    "BufferAborted",
    "ByteChannel",
    "ByteChannelClosed",
    "ByteView",
    "Channel",
    "ChannelClosed",
    "ErlangEventLoop",
    "ErlangEventLoopPolicy",
    "EventLoopPolicy",
    "ExecutionMode",
    "Fun",
    "Function",
    "InlineScheduleMarker",
    "Pid",
    "Port",
    "ProcessError",
    "PyBuffer",
    "Ref",
    "ScheduleMarker",
    "SuspensionRequired",
    "async_call",
    "atom",
    "call",
    "consume_time_slice",
    "detect_mode",
    "get_event_loop_policy",
    "install",
    "invite",
    "new_event_loop",
    "reply",
    "run",
    "schedule",
    "schedule_inline",
    "schedule_py",
    "send",
    "shared_channel",
    "sleep",
    "spawn_task",
    "whereis",
]

# Inside Erlang every loop is one of ours. Policies end with Python 3.14.
if _native.is_inside_erlang and sys.version_info < (3, 14):
    _policy.install(silent=True)
