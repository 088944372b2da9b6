# SPDX-License-Identifier: Apache-2.0
"""The loops of py_event_loop, py_event_loop_pool and py:async_call."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import events
from collections.abc import Awaitable, Callable
from typing import Any

from erlang import _native
from erlang.eventloop import ErlangEventLoop


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def serve() -> None:
    """Run an event loop that takes the requests of this thread's context, until that stops."""
    with asyncio.Runner(loop_factory=ErlangEventLoop) as runner:
        loop = runner.get_loop()
        closed = loop.create_future()
        server = _native.TaskServer(loop, closed)
        try:
            runner.run(_result_of(closed))
        finally:
            # Whoever waits is told before the runner cancels what is left.
            server.end()


def run_apart(awaitable: Awaitable[Any]) -> Any:
    """Run an awaitable to its end while a task of this thread's loop blocks it."""
    outer = events._get_running_loop()
    inner = ErlangEventLoop()
    events._set_running_loop(None)
    try:
        return inner.run_until_complete(_result_of(awaitable))
    finally:
        inner.close()
        events._set_running_loop(outer)


async def in_thread(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> Any:
    """Call what may block, unless it is a coroutine function."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **(kwargs or {}))
    value = await asyncio.to_thread(function, *args, **(kwargs or {}))
    return await value if inspect.isawaitable(value) else value
