# SPDX-License-Identifier: Apache-2.0
"""A test that hangs ends the run with the stacks of all threads."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import erlang
import pytest
from erlang import ByteChannel, Channel, _native

HANG_S = 180.0
_stderr = 2
# Of a property. 100000 is a night's work.
EXAMPLES = int(os.environ.get("PENSTOCK_EXAMPLES", "400"))
MakeLoop = Callable[[], asyncio.AbstractEventLoop]
Play = Callable[[Coroutine[Any, Any, Any]], Any]


def pytest_configure() -> None:
    """What a test writes to stderr is kept back, and lost when the watchdog ends the run."""
    global _stderr  # noqa: PLW0603
    _stderr = os.dup(2)


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANG_S, exit=True, file=_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def new_channel() -> Callable[..., Channel]:
    """new_channel(max_size=0) -> Channel that somebody may always send to."""
    return lambda max_size=0: Channel(_native._new_channel(max_size))


@pytest.fixture
def channel(new_channel: Callable[..., Channel]) -> Channel:
    return new_channel()


@pytest.fixture
def new_byte_channel() -> Callable[..., ByteChannel]:
    """new_byte_channel(max_size=0) -> ByteChannel that somebody may always send to."""
    return lambda max_size=0: ByteChannel(_native._new_channel(max_size, True))


@pytest.fixture
def byte_channel(new_byte_channel: Callable[..., ByteChannel]) -> ByteChannel:
    return new_byte_channel()


def our_loop() -> asyncio.AbstractEventLoop:
    """With the backend that PENSTOCK_LOOP_BACKEND insists on, if it does."""
    loop = erlang.new_event_loop()
    assert os.environ.get("PENSTOCK_LOOP_BACKEND", "auto") in ("auto", loop.backend)
    return loop


@pytest.fixture(params=["erlang", "asyncio"])
def make_loop(request: pytest.FixtureRequest) -> MakeLoop:
    """Our loop, and asyncio's, which shows that what is demanded is what asyncio does."""
    return our_loop if request.param == "erlang" else asyncio.SelectorEventLoop


def play_on(make_loop: MakeLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own, for at most HANG_S / 2."""
    loop = make_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(asyncio.wait_for(coroutine, HANG_S / 2))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.fixture
def play(make_loop: MakeLoop) -> Play:
    return lambda coroutine: play_on(make_loop, coroutine)


@pytest.fixture
def play_ours() -> Play:
    """For what is demanded of our loop only."""
    return lambda coroutine: play_on(our_loop, coroutine)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition is true."""
    deadline = time.monotonic() + HANG_S / 3
    while not condition():
        assert time.monotonic() < deadline, "condition never became true"
        await asyncio.sleep(0)


async def timer(delay: float) -> None:
    """A timer of the loop that fires; or time in which something must not happen."""
    await asyncio.sleep(delay)  # sleep: timers are under test


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread; fails after HANG_S."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, "condition never became true"
        time.sleep(0)


def data_waiters(channel: Channel | ByteChannel) -> int:
    return _native._waiting(channel)[0]


def room_waiters(channel: Channel | ByteChannel) -> int:
    return _native._waiting(channel)[1]


def collect() -> None:
    for _ in range(3):
        gc.collect()
