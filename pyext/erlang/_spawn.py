# SPDX-License-Identifier: Apache-2.0
"""Tasks from anywhere: erlang.spawn_task()."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from erlang.eventloop import ErlangEventLoop

_running: set[asyncio.Task[Any]] = set()
"""Nobody else need remember a task for it to go on."""


class SpawnedTask:
    """A task of another thread's loop, for code that runs in none: what asyncio.Task has, safe to
    use from any thread. result() and exception() wait, except in a coroutine, which may await the
    object itself."""

    def __init__(self, coro: Coroutine[Any, Any, Any], loop: ErlangEventLoop, name: str | None):
        self._loop = loop
        self._done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._task: asyncio.Task[Any] | None = None
        self._name = name
        self._coro = coro
        context = contextvars.copy_context()
        loop.call_soon_threadsafe(self._start, context, context=context)

    def _start(self, context: contextvars.Context) -> None:
        self._task = self._loop.create_task(self._coro, name=self._name, context=context)
        self._name = self._task.get_name()
        _keep(self._task)
        self._task.add_done_callback(lambda _: self._done.set_result(None))

    def _cancel(self, msg: Any) -> None:
        if self._task is not None:
            self._task.cancel(msg)

    def _finished(self, timeout: float | None) -> asyncio.Task[Any]:
        if not self._done.done():
            if asyncio._get_running_loop() is not None:
                raise asyncio.InvalidStateError("Result is not set.")
            _wait(self._done, timeout)
        assert self._task is not None
        return self._task

    def result(self, timeout: float | None = None) -> Any:
        """Return what the coroutine returned, or raise what it raised."""
        return self._finished(timeout).result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the coroutine raised, or None."""
        return self._finished(timeout).exception()

    def cancel(self, msg: Any = None) -> bool:
        """Have the coroutine cancelled. False: it is done."""
        if self.done():
            return False
        self._loop.call_soon_threadsafe(self._cancel, msg)
        return True

    def done(self) -> bool:
        return self._done.done()

    def cancelled(self) -> bool:
        return self._done.done() and self._finished(None).cancelled()

    def add_done_callback(self, callback: Callable[[SpawnedTask], object]) -> None:
        """Call it with this object, on the loop's thread, or at once if it is done."""
        self._done.add_done_callback(lambda _: callback(self))

    def get_name(self) -> str:
        return self._name or "spawned"

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        return self._coro

    def get_loop(self) -> ErlangEventLoop:
        return self._loop

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._done.done():
            yield from asyncio.wrap_future(self._done).__await__()
        return self._finished(None).result()

    def __repr__(self) -> str:
        state = "done" if self.done() else "pending"
        return f"<SpawnedTask {state} name={self.get_name()!r} coro={self._coro!r}>"


def _keep(task: asyncio.Task[Any]) -> None:
    _running.add(task)
    task.add_done_callback(_running.discard)


def _wait(future: concurrent.futures.Future[None], timeout: float | None) -> None:
    """On a loop of its own, so that whatever ends this thread's waits ends this one too."""

    async def wait() -> None:
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), timeout)

    loop = ErlangEventLoop()
    try:
        loop.run_until_complete(wait())
    finally:
        loop.close()


class _Background:
    """The loop for tasks of code that runs in none: a thread, from the first of them on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: ErlangEventLoop | None = None

    def loop(self) -> ErlangEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = ErlangEventLoop()
                # Not a daemon, which an interpreter with a GIL of its own does not allow.
                threading.Thread(target=self._run, args=(self._loop,), name="spawn_task").start()
                threading._register_atexit(self.stop)  # type: ignore[attr-defined]
            return self._loop

    def _run(self, loop: ErlangEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()

    def stop(self) -> None:
        """What still runs is cancelled."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)

    def forget(self) -> None:
        """After a fork: its thread is not in the child."""
        self.__init__()  # type: ignore[misc]
        _running.clear()


_background = _Background()
os.register_at_fork(after_in_child=_background.forget)


def spawn_task(
    coro: Coroutine[Any, Any, Any], *, name: str | None = None
) -> asyncio.Task[Any] | SpawnedTask:
    """Run a coroutine in a task and return that at once; the task goes on if it is dropped.

    In a running loop it is a task of that loop. Elsewhere it runs on a loop of another thread, the
    same for all of an interpreter. Raises TypeError for anything but a coroutine.
    """
    if not asyncio.iscoroutine(coro):
        raise TypeError(f"a coroutine was expected, got {coro!r}")
    loop = asyncio._get_running_loop()
    if loop is None:
        return SpawnedTask(coro, _background.loop(), name)
    task = loop.create_task(coro, name=name)
    _keep(task)
    return task
