# SPDX-License-Identifier: Apache-2.0
"""What is called while the loop or a transport is in the midst of something, or is collected, may
do anything; and nothing that came is left undone."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import erlang
import pytest
from conftest import MakeLoop, Play, timer, until
from erlang import Channel, _native


def pair() -> tuple[socket.socket, socket.socket]:
    both = socket.socketpair()
    for each in both:
        each.setblocking(False)
    return both


def test_a_loop_sleeps_after_the_end_of_a_connection(play_ours: Play) -> None:
    """Whose data and end came at once, and which is closed before the end was read."""

    async def body() -> float:
        mine, other = pair()
        other.sendall(b"x")
        other.close()
        reader, writer = await asyncio.open_connection(sock=mine)
        assert await reader.readexactly(1) == b"x"
        writer.close()
        before = time.process_time()
        await timer(0.5)
        return time.process_time() - before

    assert play_ours(body()) < 0.25


class Kept(asyncio.Protocol):
    """The transport stays open at the peer's end."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def eof_received(self) -> bool:
        self.events.append("end")
        return True


def collected(
    protocol: type[Kept],
) -> Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, int]]:
    """Loses a connection that nobody closed; the number that its socket had."""

    async def body(loop: asyncio.AbstractEventLoop) -> int:
        mine, other = pair()
        number = mine.fileno()
        transport, made = await loop.create_connection(protocol, sock=mine)
        other.close()
        await until(lambda: made.events == ["end"])
        del transport, made, mine
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        return number

    return body


def test_a_finalizer_closes_a_transport_that_is_collected(play: Play) -> None:
    told = []

    class Closing(Kept):
        def __del__(self) -> None:
            self.transport.close()

        def connection_lost(self, exception: BaseException | None) -> None:
            told.append(exception)

    async def body() -> None:
        await collected(Closing)(asyncio.get_running_loop())
        await until(lambda: told == [None])

    play(body())


def test_a_transport_that_was_collected_has_no_descriptor(play_ours: Play) -> None:
    """And does not write to whoever has its number now."""
    saved: list[asyncio.Transport] = []

    class Saving(Kept):
        def __del__(self) -> None:
            saved.append(self.transport)  # type: ignore[arg-type]

    async def body() -> None:
        number = await collected(Saving)(asyncio.get_running_loop())
        strangers = pair()
        assert number in [each.fileno() for each in strangers]
        [transport] = saved
        transport.write(b"secret")
        transport.writelines([b"more", b"of it"])
        transport.abort()
        await asyncio.sleep(0)
        for each in strangers:
            with pytest.raises(BlockingIOError):
                each.recv(10)
        for each in strangers:
            each.close()

    play_ours(body())


def test_sent_bytes_abort_the_transport_as_they_go(play: Play) -> None:
    transports: list[asyncio.Transport] = []

    class Aborting(bytes):
        def __del__(self) -> None:
            transports[0].abort()

    class Losing(asyncio.Protocol):
        def connection_lost(self, exception: BaseException | None) -> None:
            lost.append(exception)

    lost: list[BaseException | None] = []

    async def body() -> None:
        loop = asyncio.get_running_loop()
        mine, other = pair()
        transport, _ = await loop.create_connection(Losing, sock=mine)
        transports.append(transport)
        transport.write(bytes(1_000_000))
        transport.write(Aborting(bytes(100_000)))
        transport.write(bytes(3_000_000))
        while not lost:
            await loop.sock_recv(other, 1 << 20)
        other.close()

    play(body())
    assert lost == [None]


def test_a_callback_closes_others_that_wait_for_the_socket() -> None:
    victims: list[Any] = []

    class Closing(erlang.ErlangEventLoop):
        def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
            while victims:
                victims.pop().close()
            return super().call_soon(*args, **kwargs)

    loop = Closing()
    mine, other = pair()

    async def body() -> bytes:
        waiting = [loop.sock_recv(mine, 10) for _ in range(3)]
        futures = [each.send(None) for each in waiting]
        victims.extend(waiting[1:])
        first = waiting[0]
        del waiting
        other.sendall(b"x")
        await until(futures[0].done)
        with pytest.raises(StopIteration) as stop:
            first.send(None)
        return bytes(stop.value.value)

    assert loop.run_until_complete(body()) == b"x"
    loop.close()
    for each in (mine, other):
        each.close()


def test_a_finalizer_sets_a_timer_while_the_loop_goes_to_sleep(make_loop: MakeLoop) -> None:
    loop = make_loop()
    called = loop.create_future()

    class Setting(socket.socket):
        def __del__(self) -> None:
            loop.call_later(0.01, called.set_result, None)

    async def receive() -> None:
        mine, other = pair()
        last = Setting(fileno=mine.detach())
        last.setblocking(False)
        loop.call_later(0.01, other.sendall, b"x")
        with other, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            assert await loop.sock_recv(last, 10) == b"x"
            del last
            await called

    loop.run_until_complete(asyncio.wait_for(receive(), 20))
    loop.close()


def test_urgent_data_hold_up_nothing(play: Play) -> None:
    """A read ends there, whatever follows."""
    got = bytearray()

    class Receiving(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            got.extend(data)

    async def body() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        server.setblocking(False)
        client.sendall(b"abc")
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"def")
        transport, _ = await loop.create_connection(Receiving, sock=server)
        await until(lambda: got == b"abcdef")
        for number in range(3):
            client.sendall(b"gh")
            client.send(b"!", socket.MSG_OOB)
            client.sendall(b"ij")
            await until(lambda: len(got) == 10 + 4 * number)  # noqa: B023
        transport.close()
        client.close()

    play(body())


def test_who_waits_for_a_channel_is_not_collected(
    play: Play, new_channel: Callable[..., Channel]
) -> None:
    """Although nobody refers to its task: somebody in Erlang may send at any time."""
    channel = new_channel()
    got = []

    async def consume() -> None:
        got.append(await channel.async_receive())

    async def body() -> None:
        asyncio.create_task(consume())  # noqa: RUF006
        await asyncio.sleep(0)
        gc.collect()
        channel.send(5)
        await until(lambda: got == [5])

    play(body())


def test_a_loop_that_is_dropped_lets_go_of_who_waits(make_loop: MakeLoop) -> None:
    """Without close()."""
    channel = Channel(_native._new_channel(0))
    ended = []

    async def consume() -> None:
        try:
            await channel.async_receive()
        finally:
            ended.append(True)

    async def body() -> None:
        asyncio.create_task(consume())  # noqa: RUF006
        await asyncio.sleep(0)

    loop = make_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(body())
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
        gc.collect()
    assert ended == [True]
    channel.send(1)
    assert channel.try_receive() == 1


def test_a_number_that_is_no_descriptor_costs_nothing(make_loop: MakeLoop) -> None:
    loop = make_loop()
    with pytest.raises(OSError):
        loop.add_reader(2**31 - 1, print)
    loop.close()


TRACED = """
import ctypes, sys, threading, time, erlang

loop = erlang.new_event_loop()
woken = threading.Event()

def run():
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        woken.set()

thread = threading.Thread(target=run)
loop.call_soon(threading.Event().set)
thread.start()
assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
    ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)) == 1
loop.call_soon_threadsafe(int)
assert woken.wait(20)
thread.join()

def traced():
    return 'returned'

sys.settrace(lambda *_: None)
value = traced()
sys.settrace(None)
print(value)
"""


def test_nothing_is_left_of_an_interrupt() -> None:
    """Python 3.11 turns round for ever at the entry of a traced function when the interpreter
    believes that one is still to be raised."""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("returned\n", "")
