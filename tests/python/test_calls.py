# SPDX-License-Identifier: Apache-2.0
"""Calls and markers as far as they go without Erlang."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import erlang
import pytest


def test_without_erlang_there_is_nothing_to_call() -> None:
    with pytest.raises(RuntimeError, match="not running inside Erlang"):
        erlang.call("anything", 1)
    with pytest.raises(RuntimeError, match="not running inside Erlang"):
        asyncio.run(erlang.async_call("anything", 1))

    async def in_a_loop() -> Any:
        return await erlang.async_call("anything")

    with pytest.raises(RuntimeError, match="not running inside Erlang"):
        asyncio.run(in_a_loop())


def test_names_of_the_module_end_with_its_own() -> None:
    assert not hasattr(erlang, "anything")
    with pytest.raises(AttributeError, match="module 'erlang' has no attribute 'anything'"):
        erlang.anything  # noqa: B018
    with pytest.raises(ImportError):
        from erlang import anything  # noqa: F401
    assert not hasattr(erlang, "__path_hooks__")


def test_arguments_of_call() -> None:
    for wrong in ((), (b"name",), (1,), (None,), (erlang,)):
        with pytest.raises(TypeError):
            erlang.call(*wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            erlang.schedule(*wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes no keyword arguments"):
        erlang.call("name", a=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes no keyword arguments"):
        erlang.schedule("name", a=1)  # type: ignore[call-arg]


def test_markers() -> None:
    marker = erlang.schedule("compute", 1, 2)
    assert type(marker) is erlang.ScheduleMarker
    assert repr(marker) == "<erlang.ScheduleMarker callback='compute'>"
    assert type(erlang.schedule_py("m", "f")) is erlang.ScheduleMarker
    inline = erlang.schedule_inline("m", "f", [1], {"a": 2})
    assert type(inline) is erlang.InlineScheduleMarker
    assert repr(inline) == "<erlang.InlineScheduleMarker m.f>"
    for cls in (erlang.ScheduleMarker, erlang.InlineScheduleMarker):
        with pytest.raises(TypeError):
            cls()


@pytest.mark.parametrize("schedule", [erlang.schedule_py, erlang.schedule_inline])
def test_arguments_of_markers(schedule: Any) -> None:
    schedule("m", "f", None, None)
    schedule("m", "f", args=(1,), kwargs={})
    arguments = [("m",), (1, "f"), ("m", b"f"), ("m", "f", 1), ("m", "f", "x"), ("m", "f", [], [])]
    for wrong in arguments:
        with pytest.raises(TypeError):
            schedule(*wrong)


def test_a_marker_keeps_its_arguments_and_no_longer() -> None:
    class Kept:
        pass

    kept = Kept()
    gone = weakref.ref(kept)
    marker = erlang.schedule_inline("m", "f", [kept], {"k": kept})
    cycle = [marker]
    holder = erlang.schedule_inline("m", "f", [cycle])
    cycle.append(holder)  # type: ignore[arg-type]
    del kept
    gc.collect()
    assert gone() is not None
    del marker, cycle, holder
    gc.collect()
    assert gone() is None


def test_a_time_slice_is_used_up() -> None:
    for wrong in (0, 101, -1, 1 << 70):
        with pytest.raises(ValueError, match="1 to 100"):
            erlang.consume_time_slice(wrong)
    for wrong_type in ("1", 1.0, None):
        with pytest.raises(TypeError):
            erlang.consume_time_slice(wrong_type)  # type: ignore[arg-type]
    while not erlang.consume_time_slice(100):
        pass
    # Declared: ten times 10 % are a whole slice, whatever time has passed.
    assert any(erlang.consume_time_slice(10) for _ in range(10))
    # Passed: a slice is a millisecond.
    until = time.monotonic() + 5
    while not erlang.consume_time_slice(1):
        assert time.monotonic() < until
