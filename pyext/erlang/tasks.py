# SPDX-License-Identifier: Apache-2.0
"""The loop behind py:async_call: a task for each call, the result sent to whoever asked."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from typing import Any

from erlang import _native
from erlang.calls import async_call


def _resolve(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _error(exception: BaseException) -> tuple[Any, Any]:
    try:
        # The value was the second element of the third of a message.
        text = str(exception).replace(" (at [2][1])", "").replace("(at [2][1]", "(at ")
    except Exception:
        text = ""
    characters = [ord(each) for each in text[:8192].encode("utf-16", "replace").decode("utf-16")]
    name = type(exception).__name__
    try:
        return _native.atom("error"), (_native.atom(name), characters)
    except RuntimeError:  # No more atoms may be made.
        return _native.atom("error"), (name, characters)


async def _value_of(function: Any, args: Any, kwargs: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    # It may block; the loop and the other calls go on.
    value = await asyncio.to_thread(function, *args, **kwargs)
    return await value if inspect.isawaitable(value) else value


async def _follow(value: Any) -> Any:
    """What the call comes to, wherever it goes on."""
    while isinstance(value, (_native.ScheduleMarker, _native.InlineScheduleMarker)):
        await asyncio.sleep(0)  # Others have their turn.
        if value.module is None:
            return await async_call(value.func, *value.args)
        function = (value._globals or {}).get(value.func) if _is_of(value) else None
        if function is None:
            function = _resolve(value.module, value.func)
        value = await _value_of(function, value.args, value.kwargs or {})
    return value


def _is_of(marker: Any) -> bool:
    return bool((marker._globals or {}).get("__name__") == marker.module)


async def _run(call: tuple[Any, ...]) -> None:
    caller, reference, module, name, args, kwargs = call
    try:
        value = await _follow(await _value_of(_resolve(module, name), args, kwargs))
        _send(caller, reference, (_native.atom("ok"), value))
    except asyncio.CancelledError as exception:
        # From outside: the loop ends. Else the function raised it.
        task = asyncio.current_task()
        is_stopped = task is not None and task.cancelling() > 0
        _send(caller, reference, _stopped() if is_stopped else _error(exception))
        raise
    except BaseException as exception:
        _send(caller, reference, _error(exception))


def _stopped() -> tuple[Any, Any]:
    atom = _native.atom
    return atom("error"), (atom("context_died"), atom("stopped"))


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
