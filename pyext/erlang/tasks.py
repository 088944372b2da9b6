# SPDX-License-Identifier: Apache-2.0
"""The loop behind py:async_call: a task for each call, the result sent to whoever asked."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from typing import Any

from erlang import _native


def _resolve(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _error(exception: BaseException) -> tuple[Any, Any]:
    try:
        text = str(exception)
    except Exception:
        text = ""
    characters = [ord(each) for each in text[:8192].encode("utf-16", "replace").decode("utf-16")]
    name = type(exception).__name__
    try:
        return _native.atom("error"), (_native.atom(name), characters)
    except RuntimeError:  # No more atoms may be made.
        return _native.atom("error"), (name, characters)


async def _run(call: tuple[Any, ...]) -> None:
    caller, reference, module, name, args, kwargs = call
    try:
        function = _resolve(module, name)
        if inspect.iscoroutinefunction(function):
            value = await function(*args, **kwargs)
        else:
            # It may block; the loop and the other calls go on.
            value = await asyncio.to_thread(function, *args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
        _send(caller, reference, (_native.atom("ok"), value))
    except _native.ApplicationStopped:
        raise
    except BaseException as exception:
        _send(caller, reference, _error(exception))


def _send(caller: _native.Pid, reference: _native.Ref, result: tuple[Any, Any]) -> None:
    try:
        _native.send(caller, (_native.atom("async_result"), reference, result))
    except _native.ProcessError:
        pass  # Nobody waits any more.


async def _serve(channel: _native.Channel) -> None:
    running: set[asyncio.Task[None]] = set()
    async for call in channel:
        task = asyncio.create_task(_run(call))
        running.add(task)
        task.add_done_callback(running.discard)


def serve(reference: Any) -> None:
    """Runs what comes through the channel, until that is closed or the application stops."""
    asyncio.run(_serve(_native.Channel(reference)))
