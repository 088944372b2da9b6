# SPDX-License-Identifier: Apache-2.0
"""erlang.spawn_task, and which loops asyncio makes."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import warnings
from typing import Any

import erlang
import pytest
from conftest import Play, collect, until, wait_until

VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("VALUE", default="")


async def twice(number: int) -> int:
    await asyncio.sleep(0)
    if number < 0:
        raise ValueError(number)
    return 2 * number


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_in_a_coroutine_it_is_a_task_of_that_loop(play: Play) -> None:
    async def body() -> None:
        task = erlang.spawn_task(twice(4), name="a name")
        assert isinstance(task, asyncio.Task) and task.get_name() == "a name"
        assert task.get_loop() is asyncio.get_running_loop()
        assert await task == 8

    play(body())


def test_a_task_goes_on_that_nobody_keeps(play: Play) -> None:
    async def body() -> None:
        done: list[int] = []

        async def work() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
                collect()
            done.append(1)

        erlang.spawn_task(work())
        await until(lambda: bool(done))

    play(body())


def test_elsewhere_it_runs_on_another_thread() -> None:
    VALUE.set("mine")

    async def where() -> tuple[int, str]:
        return threading.get_ident(), VALUE.get()

    task = erlang.spawn_task(where(), name="elsewhere")
    thread, value = task.result()
    assert thread != threading.get_ident() and value == "mine"
    assert task.done() and not task.cancelled() and task.exception() is None
    assert task.get_name() == "elsewhere" and "elsewhere" in repr(task)
    assert not task.cancel()
    assert erlang.spawn_task(where()).result()[0] == thread


def test_what_it_raises_is_raised() -> None:
    task = erlang.spawn_task(twice(-1))
    assert isinstance(task.exception(), ValueError)
    with pytest.raises(ValueError, match="-1"):
        task.result()


def test_it_can_be_cancelled_from_here() -> None:
    task = erlang.spawn_task(forever())
    with pytest.raises(TimeoutError):
        task.result(0.01)  # type: ignore[call-arg]
    assert not task.done() and not task.cancelled()
    assert task.cancel()
    with pytest.raises(asyncio.CancelledError):
        task.result()
    assert task.cancelled()


def test_callbacks_are_told() -> None:
    told: list[Any] = []
    task = erlang.spawn_task(twice(1))
    task.add_done_callback(told.append)
    wait_until(lambda: bool(told))
    assert told == [task]


def test_a_coroutine_may_await_it(play: Play) -> None:
    task = erlang.spawn_task(twice(21))
    waiting = erlang.spawn_task(forever())

    async def body() -> None:
        assert await task == 42
        with pytest.raises(asyncio.InvalidStateError):
            waiting.result()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    play(body())


@pytest.mark.parametrize("wrong", [twice, 1, None, asyncio.sleep])
def test_anything_but_a_coroutine_is_an_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a coroutine was expected"):
        erlang.spawn_task(wrong)


def alone(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout.strip()  # fmt: skip


def test_what_still_runs_does_not_keep_the_process() -> None:
    assert alone("""if True:
        import asyncio, erlang
        async def work():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                print("ended")
        async def started(): pass
        erlang.spawn_task(work())
        erlang.spawn_task(started()).result()
    """) == "ended"


def test_a_child_process_spawns_its_own() -> None:
    assert alone("""if True:
        import asyncio, erlang, os
        async def pid(): return os.getpid()
        assert erlang.spawn_task(pid()).result() == os.getpid()
        child = os.fork()
        if child == 0:
            assert erlang.spawn_task(pid()).result() == os.getpid()
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """) == "7"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python ends policies")
def test_installed_it_is_the_loop_of_asyncio() -> None:
    assert alone("""if True:
        import asyncio, erlang
        async def loop(): return type(asyncio.get_running_loop())
        assert asyncio.run(loop()) is not erlang.ErlangEventLoop
        erlang.install(silent=True)
        assert asyncio.run(loop()) is erlang.ErlangEventLoop
        assert isinstance(asyncio.get_event_loop_policy(), erlang.EventLoopPolicy)
        fresh = asyncio.new_event_loop()
        print(type(fresh).__name__)
        fresh.close()
    """) == "ErlangEventLoop"


def test_installing_says_that_it_is_deprecated() -> None:
    before = asyncio.get_event_loop_policy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            erlang.install()
        finally:
            asyncio.set_event_loop_policy(before)
    told = [each.category for each in caught]
    assert told == ([DeprecationWarning] if sys.version_info >= (3, 12) else [])


def test_other_ways_to_run() -> None:
    async def loop() -> type:
        return type(asyncio.get_running_loop())

    assert erlang.run(loop()) is erlang.ErlangEventLoop
    with asyncio.Runner(loop_factory=erlang.new_event_loop) as runner:
        assert runner.run(loop()) is erlang.ErlangEventLoop
    assert erlang.run(twice(2), debug=True) == 4

    async def inside() -> None:
        coroutine = loop()
        with pytest.raises(RuntimeError, match="running event loop"):
            erlang.run(coroutine)
        coroutine.close()

    erlang.run(inside())
    assert erlang.detect_mode() is erlang.ExecutionMode.SHARED_GIL
    assert erlang.ExecutionMode.SUBINTERP == "subinterp"
