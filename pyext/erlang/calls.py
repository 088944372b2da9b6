# SPDX-License-Identifier: Apache-2.0
"""Calls of Erlang functions that need no native code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from erlang import _native


class AsyncCall(asyncio.Future[Any]):
    """A call of async_call() that has begun: a future which also is a coroutine, for those who take
    only coroutines. So gather() and wait_for() need no task for it. wait() wants a task of it, as
    of any coroutine."""

    __slots__ = ("_waiting",)
    _waiting: Generator[Any, Any, Any]

    def _steps(self) -> Generator[Any, Any, Any]:
        try:
            return self._waiting
        except AttributeError:
            self._waiting = self.__await__()
            return self._waiting

    def send(self, value: Any) -> Any:
        return self._steps().send(value)

    def throw(self, *exception: Any) -> Any:
        return self._steps().throw(*exception)

    def close(self) -> None:
        self.cancel()


Coroutine.register(AsyncCall)


async def _call_later(name: str, args: tuple[Any, ...]) -> Any:
    return await _native._start_call(name, *args)


def async_call(name: str, /, *args: Any) -> Any:
    """Call the Erlang function registered under name from a coroutine, on any asyncio loop.

    In a running loop the call begins at once; the awaitable that is returned is a future and a
    coroutine. Elsewhere it is a coroutine that begins it. Raises what call() raises. Cancelled, the
    function goes on, and what it returns is dropped.
    """
    if asyncio._get_running_loop() is None:
        return _call_later(name, args)
    return _native._start_call(name, *args)


class Function:
    """An Erlang function, registered under a name; what erlang.<name> is."""

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs:
            raise TypeError(f"{self.__name__}() takes no keyword arguments")
        return _native.call(self.__name__, *args)

    def __repr__(self) -> str:
        return f"<erlang function {self.__name__!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((Function, self.__name__))


def function(name: str) -> Function:
    """The registered Erlang function of that name; AttributeError if there is none."""
    if not name.startswith("_") and _is_registered(name):
        return Function(name)
    raise AttributeError(f"module 'erlang' has no attribute {name!r}")


def _is_registered(name: str) -> bool:
    try:
        return bool(_native.call("_py_callback_is_registered", name))
    except RuntimeError:
        return False  # Not inside Erlang, or the application stops.


def sleep(seconds: float) -> Awaitable[None] | None:
    """Wait for seconds: an awaitable while this thread runs an asyncio loop, else blocking.

    Zero and less is no wait at all. Blocking, it releases the GIL, and an interrupt, a timeout of
    the call or the application's stop ends it.
    """
    seconds = max(0.0, float(seconds))
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _native._sleep(seconds)
        return None
    return asyncio.sleep(seconds)
