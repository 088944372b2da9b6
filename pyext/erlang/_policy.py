# SPDX-License-Identifier: Apache-2.0
"""Which loop asyncio makes when it is not told."""

from __future__ import annotations

import asyncio
import enum
import sys
import sysconfig
import threading
import warnings
from typing import Any

from erlang import _native
from erlang.eventloop import ErlangEventLoop


class ErlangEventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """asyncio's policy, but for the loops that it makes: each an ErlangEventLoop."""

    _loop_factory = ErlangEventLoop


EventLoopPolicy = ErlangEventLoopPolicy


def get_event_loop_policy() -> ErlangEventLoopPolicy:
    """Return a new policy, for asyncio.set_event_loop_policy()."""
    return ErlangEventLoopPolicy()


def install(silent: bool = False) -> None:
    """Have asyncio.run() and asyncio.new_event_loop() make loops of this kind.

    erlang.run() and asyncio.Runner(loop_factory=erlang.new_event_loop) do without. asyncio gives up
    policies: DeprecationWarning on Python 3.12 and 3.13, unless silent; RuntimeError since 3.14.
    """
    if sys.version_info >= (3, 14):
        raise RuntimeError(
            "erlang.install() needs event loop policies, which Python 3.14 deprecates: use "
            "erlang.run() or asyncio.Runner(loop_factory=erlang.new_event_loop)"
        )
    if sys.version_info >= (3, 12) and not silent:
        warnings.warn(
            "erlang.install() is deprecated: use erlang.run() or "
            "asyncio.Runner(loop_factory=erlang.new_event_loop)",
            DeprecationWarning,
            stacklevel=2,
        )
    asyncio.set_event_loop_policy(ErlangEventLoopPolicy())


class ExecutionMode(enum.StrEnum):
    """How Python code of one interpreter runs beside that of others."""

    FREE_THREADED = "free_threaded"
    SUBINTERP = "subinterp"
    SHARED_GIL = "shared_gil"


def detect_mode() -> ExecutionMode:
    """Return how the code of this interpreter runs."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return ExecutionMode.FREE_THREADED
    return ExecutionMode.SHARED_GIL if _native.is_main_interpreter else ExecutionMode.SUBINTERP
