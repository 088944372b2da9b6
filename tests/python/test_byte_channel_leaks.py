# SPDX-License-Identifier: Apache-2.0
"""Byte channels leave nothing behind by many repetitions."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Callable

import pytest
from conftest import collect, wait_until
from erlang import ByteChannel, Channel, _native
from test_leaks import failing, growth

CHANNEL = ByteChannel(_native._new_channel(0, True))
FULL = ByteChannel(_native._new_channel(1, True))
FULL.send_bytes(b"x")
TERMS = Channel(_native._new_channel())
LARGE = bytes(20_000)


def life() -> None:
    channel = ByteChannel(_native._new_channel(0, True))
    channel.send_bytes(LARGE)
    channel.send_bytes(bytearray(LARGE))
    with channel:
        iter(channel)
    assert channel.receive_view() == LARGE


def round_trip() -> None:
    CHANNEL.send_many([b"", b"x", LARGE, bytearray(LARGE), memoryview(b"y")])
    CHANNEL.receive_bytes()
    CHANNEL.receive_view()
    CHANNEL.try_receive_bytes()
    CHANNEL.receive_many()


def views() -> None:
    CHANNEL.send_bytes(LARGE)
    view = CHANNEL.receive_view()
    parts = [view[:10], view[:15_000], view[::2], view[3], memoryview(view), hash(view)]
    with view[100:]:
        repr((parts, view))
    CHANNEL.send_bytes(b"small")
    CHANNEL.receive_view().tobytes()


def terms() -> None:
    TERMS.send((LARGE, {LARGE: CHANNEL}))
    TERMS.receive()


@pytest.mark.parametrize(
    "action",
    [
        life,
        round_trip,
        views,
        terms,
        lambda: CHANNEL.async_receive_bytes().close(),
        lambda: CHANNEL.async_receive_view().close(),
        lambda: CHANNEL.info(),
        lambda: FULL.try_send_bytes(b"y"),
        failing(CHANNEL.receive_bytes, 0),
        failing(CHANNEL.receive_many, 1, 0),
        failing(CHANNEL.send_bytes, "x"),
        failing(FULL.send_bytes, LARGE),
        failing(FULL.send_bytes, b"y", 0),
        failing(FULL.send_many, [b"y"], 0),
        failing(CHANNEL.send_many, [1]),
    ],
)
def test_repeating_it_grows_nothing(action: Callable[[], object]) -> None:
    assert growth(action, 2000) < 4096


def test_waiting_on_a_loop_grows_nothing() -> None:
    async def main() -> int:
        async def rounds(count: int) -> None:
            for _ in range(count):
                task = asyncio.create_task(CHANNEL.async_receive_view())
                cancelled = asyncio.create_task(CHANNEL.async_receive_bytes())
                await asyncio.sleep(0)
                cancelled.cancel()
                CHANNEL.send_bytes(LARGE)
                assert await task == LARGE
                await asyncio.wait([cancelled])

        await rounds(200)
        collect()
        tracemalloc.start()
        try:
            await rounds(50)
            collect()
            before = tracemalloc.get_traced_memory()[0]
            await rounds(1000)
            collect()
            return tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()

    assert asyncio.run(main()) < 8192


def test_reference_counts_of_what_was_sent_stay() -> None:
    before = sys.getrefcount(LARGE)
    small = ByteChannel(_native._new_channel(30_000, True))
    for _ in range(100):
        small.send_bytes(LARGE)
        assert not small.try_send_bytes(LARGE)
        with pytest.raises(TimeoutError):
            small.send_bytes(LARGE, 0)
        with pytest.raises(ValueError, match="max_size"):
            small.send_bytes(LARGE * 2)
        TERMS.send([LARGE, LARGE])
        with pytest.raises(TypeError):
            TERMS.send([LARGE, object()])
        TERMS.receive()
        small.receive_bytes()
    small.close()
    wait_until(lambda: sys.getrefcount(LARGE) == before)


def test_nothing_stays_pinned() -> None:
    for action in (life, round_trip, views, terms):
        action()
    assert CHANNEL.info() == {"size": 0, "max_size": 0, "closed": False, "pinned": 0}
