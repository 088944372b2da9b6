# SPDX-License-Identifier: Apache-2.0
"""Nothing is left behind by many repetitions on a loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import erlang
import pytest
from conftest import open_fds, our_loop
from erlang import Channel, _native
from test_leaks import growth

ROUNDS = 2_000


def nothing(*_: object) -> None:
    pass


async def callbacks() -> None:
    loop = asyncio.get_running_loop()
    loop.call_soon(nothing)
    loop.call_soon(nothing, 1, [2], {})
    loop.call_soon_threadsafe(nothing, object())
    loop.call_later(0, nothing, [1])
    kept = loop.call_later(60, nothing, [1], [2])
    kept._args, kept.when()  # type: ignore[attr-defined]
    kept.cancel()
    await asyncio.sleep(0)


def failing() -> None:
    raise ValueError


async def failures() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(nothing)
    loop.call_soon(failing)
    await asyncio.sleep(0)


async def tasks() -> None:
    loop = asyncio.get_running_loop()
    await loop.create_task(asyncio.sleep(0), name="x")
    task = loop.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def sockets() -> None:
    loop = asyncio.get_running_loop()
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        receiving = loop.create_task(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(two, b"abc")
        await receiving
        given_up = loop.create_task(loop.sock_recv_into(one, bytearray(3)))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        loop.add_reader(one, nothing)
        loop.add_writer(one, nothing, [1])
        await asyncio.sleep(0)
        loop.remove_reader(one)
        loop.remove_writer(one)
        loop.sock_recv(one, 5).close()


async def streams() -> None:
    mine, its = socket.socketpair()
    with its:
        reader, writer = await asyncio.open_connection(sock=mine)
        its.send(b"abc")
        assert await reader.read(2) == b"ab"
        assert await reader.read(2) == b"c"
        given_up = asyncio.create_task(reader.read(2))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        reader.read(5)
    assert await reader.read(2) == b""
    writer.close()
    await writer.wait_closed()


CHANNEL = Channel(_native._new_channel())


async def channels() -> None:
    receiving = asyncio.create_task(CHANNEL.async_receive())
    await asyncio.sleep(0)
    CHANNEL.send([1])
    await receiving


async def spawned() -> None:
    await erlang.spawn_task(asyncio.sleep(0))


@pytest.mark.parametrize(
    "body", [callbacks, failures, tasks, sockets, streams, channels, spawned],
    ids=lambda body: body.__name__
)
def test_on_one_loop(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = our_loop()
    loop.run_until_complete(asyncio.sleep(0.0001))  # sleep: it has slept
    fds = open_fds()
    try:
        asyncio.set_event_loop(loop)
        def action() -> object:
            return loop.run_until_complete(body())

        if os.environ.get("PYTHONMALLOC") == "malloc":
            # Free lists, which trade old memory for new, count as growth then, up to their size.
            assert growth(action, 8 * ROUNDS) - growth(action, 4 * ROUNDS) < 20_000
        else:
            assert growth(action, ROUNDS) < 20_000
        assert open_fds() == fds
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.parametrize(
    "body", [callbacks, sockets, channels], ids=lambda body: body.__name__
)
def test_of_loops(body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    def action() -> None:
        loop = our_loop()
        loop.run_until_complete(body())
        loop.call_later(60, nothing, loop)
        loop.call_soon(nothing, loop)
        loop.close()

    action()
    fds = open_fds()
    assert growth(action, 300) < 20_000
    assert open_fds() == fds


def test_channels_need_no_descriptor_of_their_own() -> None:
    loop = our_loop()
    loop.run_until_complete(asyncio.sleep(0.0001))  # sleep: it has slept
    fds = open_fds()
    loop.run_until_complete(channels())
    assert open_fds() == fds
    loop.close()
