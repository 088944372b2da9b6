# SPDX-License-Identifier: Apache-2.0
"""A test that hangs ends the run with the stacks of all threads."""

from __future__ import annotations

import faulthandler
import gc
import time
from collections.abc import Callable, Iterator

import pytest
from erlang import ByteChannel, Channel, _native

HANG_S = 180.0


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANG_S, exit=True)
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
