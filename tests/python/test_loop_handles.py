# SPDX-License-Identifier: Apache-2.0
"""What call_soon and its like give out."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import MakeLoop, Play, collect, our_loop, until

VALUE: contextvars.ContextVar[int] = contextvars.ContextVar("VALUE", default=0)


@pytest.fixture
def loop() -> Any:
    loop = our_loop()
    yield loop
    loop.close()


def nothing(*_: object) -> None:
    pass


def test_they_are_asyncios(loop: Any) -> None:
    for handle in (loop.call_soon(nothing), loop.call_soon_threadsafe(nothing)):
        assert isinstance(handle, asyncio.Handle)
        assert not isinstance(handle, asyncio.TimerHandle)
    for timer in (loop.call_later(9, nothing), loop.call_at(loop.time() + 9, nothing)):
        assert isinstance(timer, asyncio.TimerHandle)
        assert loop.time() + 8 < timer.when() < loop.time() + 10


def test_they_say_what_asyncios_say(make_loop: MakeLoop) -> None:
    loop = make_loop()
    handle = loop.call_soon(nothing, 1, "x")
    timer = loop.call_at(7.5, nothing)
    assert repr(handle).startswith("<Handle nothing(")
    assert repr(timer).startswith("<TimerHandle when=7.5 nothing(")
    for each in (handle, timer):
        assert not each.cancelled()
        each.cancel()
        each.cancel()
        assert each.cancelled()
    assert (repr(handle), repr(timer)) == ("<Handle cancelled>", "<TimerHandle cancelled when=7.5>")
    loop.close()


def test_arguments_of_all_numbers_arrive(loop: Any) -> None:
    got: list[tuple[object, ...]] = []
    for count in range(9):
        handle = loop.call_soon(lambda *args: got.append(args), *range(count))
        assert handle._args == tuple(range(count))
    loop._run_once()
    assert got == [tuple(range(count)) for count in range(9)]


def test_arguments_by_name(loop: Any) -> None:
    got: list[str] = []
    context = contextvars.copy_context()
    loop.call_soon(callback=lambda: got.append("soon"))
    loop.call_later(delay=0, callback=lambda: got.append("later"), context=context)
    loop.call_at(when=0, callback=lambda: got.append("at"), context=None)
    for wrong in (
        lambda: loop.call_soon(),
        lambda: loop.call_later(1),
        lambda: loop.call_later(None, nothing),
        lambda: loop.call_at("now", nothing),
        lambda: loop.call_soon(nothing, callback=nothing),
        lambda: loop.call_soon(nothing, delay=1),
        lambda: loop.call_soon(nothing, context=3),
    ):
        with pytest.raises(TypeError):
            wrong()
    loop._run_once()
    assert sorted(got) == ["at", "later", "soon"]


def test_each_runs_in_a_context_of_its_own(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []

        def step() -> None:
            seen.append(VALUE.get())
            VALUE.set(99)

        given = contextvars.copy_context()
        VALUE.set(1)
        loop.call_soon(step)
        loop.call_soon(step)
        VALUE.set(2)
        timer = loop.call_later(0, step)
        loop.call_soon(step, context=given)
        loop.call_soon(step, context=given)
        VALUE.set(3)
        await until(lambda: len(seen) == 5)
        assert sorted(seen) == [0, 1, 1, 2, 99]
        assert timer._context[VALUE] == 99  # type: ignore[attr-defined]
        assert VALUE.get() == 3

    play(body())


def test_the_context_that_is_shown_is_the_one_it_runs_in(loop: Any) -> None:
    handle = loop.call_soon(lambda: VALUE.set(5))
    shown = handle.get_context()
    loop._run_once()
    assert handle._context is shown and shown[VALUE] == 5


def test_one_that_is_kept_is_never_used_again(loop: Any) -> None:
    ran: list[int] = []
    kept = [loop.call_soon(ran.append, number) for number in range(1000)]
    loop._run_once()
    for _ in range(10):
        for number in range(1000):
            loop.call_soon(ran.append, -1)
        for handle in kept:
            handle.cancel()  # asyncio's own code cancels what has run.
        loop._run_once()
    assert ran == [*range(1000), *[-1] * 10_000]


def test_a_cycle_of_a_timer_and_what_it_calls_is_collected(loop: Any) -> None:
    class Owner:
        def start(self) -> None:
            self.timer = loop.call_later(1000, self.start)
            self.soon = loop.call_soon(self.start)

    owner = Owner()
    owner.start()
    gone = weakref.ref(owner)
    owner.timer.cancel()
    owner.soon.cancel()
    del owner
    collect()
    assert gone() is None


def test_a_loop_that_is_dropped_takes_its_handles_with_it() -> None:
    class Owner:
        def step(self) -> None:
            pass

    def make() -> weakref.ref[Owner]:
        owner = Owner()
        loop = our_loop()
        owner.loop = loop  # type: ignore[attr-defined]
        owner.timer = loop.call_later(1000, owner.step)  # type: ignore[attr-defined]
        loop.close()
        return weakref.ref(owner)

    gone = make()
    collect()
    assert gone() is None


def test_weak_references_are_told(loop: Any) -> None:
    told: list[object] = []
    references = [weakref.ref(loop.call_soon(nothing), told.append) for _ in range(3)]
    loop._run_once()
    assert told == references and all(reference() is None for reference in references)
    assert weakref.ref(loop.call_soon(nothing))() is not None


def test_the_collector_may_run_at_any_time(loop: Any) -> None:
    ran: list[int] = []
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(500):
            loop.call_soon(ran.append, number)
            loop.call_later(0, ran.append, number, context=contextvars.copy_context())
            loop.call_later(5, ran.append, -1, -2).cancel()
        loop._run_once()
    finally:
        gc.set_threshold(*before)
    assert sorted(ran) == sorted([*range(500)] * 2)


def test_timers_due_run_after_what_was_ready(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        order: list[str] = []
        loop.call_later(0, order.append, "timer")
        loop.call_soon(order.append, "ready")
        await until(lambda: len(order) == 2)
        assert order == ["ready", "timer"]

    play(body())


def test_what_is_added_while_callbacks_run_runs_in_the_next_iteration(make_loop: MakeLoop) -> None:
    loop: Any = make_loop()
    order: list[int] = []
    loop.call_soon(lambda: (order.append(1), loop.call_soon(order.append, 3)))
    loop.call_soon(lambda: (order.append(2), loop.stop()))
    loop.run_forever()
    assert order == [1, 2]
    loop.run_until_complete(asyncio.sleep(0))
    assert order == [1, 2, 3]
    loop.close()


def test_one_made_in_python_runs_too(loop: Any) -> None:
    ran: list[int] = []
    handle = asyncio.Handle(ran.append, (1,), loop)
    loop._add_callback(handle)
    loop._add_callback(handle)
    cancelled = asyncio.Handle(ran.append, (2,), loop)
    loop._add_callback(cancelled)
    cancelled.cancel()
    loop._run_once()
    assert ran == [1, 1] and len(loop._ready) == 0


def test_debug_mode_says_where_it_was_made_and_what_was_slow(
    loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    handle = loop.call_soon(nothing, "argument")
    assert handle._source_traceback[-1].name == (
        "test_debug_mode_says_where_it_was_made_and_what_was_slow"
    )
    timer = loop.call_later(100, nothing, "argument")
    timer.cancel()
    assert "nothing('argument')" in repr(timer) and __file__ in repr(timer)
    with caplog.at_level(logging.WARNING, "asyncio"):
        loop._run_once()
    assert "Executing <Handle nothing" in caplog.text


@pytest.mark.parametrize("wrong", [nothing, 7])
def test_debug_mode_refuses_what_cannot_be_called_back(
    loop: Any, wrong: Callable[..., None] | int
) -> None:
    async def coroutine() -> None:
        pass

    loop.set_debug(True)
    for bad in (coroutine, 7):
        for schedule in (
            loop.call_soon,
            loop.call_soon_threadsafe,
            lambda each: loop.call_later(1, each),
            lambda each: loop.call_at(1, each),
        ):
            with pytest.raises(TypeError):
                schedule(bad)


def test_nothing_is_scheduled_on_a_closed_loop() -> None:
    loop = our_loop()
    loop.close()
    loop.close()
    coroutine = asyncio.sleep(0)
    for schedule in (
        lambda: loop.call_soon(nothing),
        lambda: loop.call_soon_threadsafe(nothing),
        lambda: loop.call_later(1, nothing),
        lambda: loop.call_at(1, nothing),
        lambda: loop.create_task(coroutine),
        lambda: loop.add_reader(0, nothing),
        lambda: loop._run_once(),  # type: ignore[attr-defined]
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            schedule()
    coroutine.close()
    assert not loop.remove_reader(0)
