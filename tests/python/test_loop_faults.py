# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around an event loop: callbacks that raise, waits that are given up, descriptors
that are closed too early or run out, loops closed in the midst of it."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import MakeLoop, Play, open_fds, our_loop, timer, until


def told_to(loop: asyncio.AbstractEventLoop) -> list[dict]:
    """What the loop's exception handler is given."""
    told: list[dict] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    return told


def pair() -> tuple[socket.socket, socket.socket]:
    both = socket.socketpair()
    for one in both:
        one.setblocking(False)
    return both


def fault(*_args: object) -> None:
    raise LookupError("a fault")


def test_callbacks_that_raise_are_told_and_do_no_more(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        told = told_to(loop)
        left, right = pair()
        loop.call_soon(fault)
        loop.call_later(0.001, fault)
        loop.call_soon_threadsafe(fault)
        loop.add_writer(left, lambda: (loop.remove_writer(left), fault()))
        right.send(b"x")
        loop.add_reader(left, lambda: (loop.remove_reader(left), fault()))
        await until(lambda: len(told) == 5)
        for context in told:
            assert isinstance(context["exception"], LookupError)
            assert context["message"].startswith("Exception in callback ")
            assert isinstance(context["handle"], asyncio.Handle)
        left.close()
        right.close()

    play(body())


def test_an_exception_handler_that_raises_is_logged(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(fault)
        loop.call_soon(fault)
        await until(lambda: "Unhandled error in exception handler" in caplog.text)

    play(body())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_ends_the_run_and_not_the_loop(
    make_loop: MakeLoop, kind: type[BaseException]
) -> None:
    loop = make_loop()
    try:
        left, right = pair()
        seen: list[str] = []

        def end() -> None:
            loop.remove_reader(left)
            raise kind

        right.send(b"x")
        for schedule in (lambda: loop.call_soon(end), lambda: loop.call_later(0.001, end),
                         lambda: loop.add_reader(left, end)):
            schedule()
            loop.call_later(0.001, seen.append, "later")
            with pytest.raises(kind):
                loop.run_forever()
            assert not loop.is_running() and not loop.is_closed()
        loop.run_until_complete(timer(0.01))
        assert seen == ["later"] * 3
        left.close()
        right.close()
    finally:
        loop.close()


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received",
                                    "connection_lost"])
def test_a_protocol_that_raises_loses_its_connection_only(play: Play, method: str) -> None:
    class Faulty(asyncio.Protocol):
        pass

    async def body() -> None:
        loop = asyncio.get_running_loop()
        told = told_to(loop)
        setattr(Faulty, method, fault)
        left, right = pair()
        others_left, others_right = pair()
        reader, writer = await asyncio.open_connection(sock=others_left)
        transport, _ = await loop.create_connection(Faulty, sock=left)
        if method in ("data_received", "connection_lost"):
            right.send(b"x")
        if method in ("eof_received", "connection_lost"):
            right.shutdown(socket.SHUT_WR)
        await until(lambda: bool(told))
        assert any(isinstance(context.get("exception"), LookupError) for context in told)
        if method == "connection_made":
            transport.close()
        else:
            await until(transport.is_closing)
        assert (await loop.sock_recv(right, 10)) == b""
        await loop.sock_sendall(others_right, b"still here")
        assert await reader.readexactly(10) == b"still here"
        writer.close()
        right.close()
        others_right.close()

    play(body())


def test_a_wait_that_is_given_up_loses_nothing(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        for number in range(50):
            waiting = loop.create_task(loop.sock_recv(left, 100))
            await asyncio.sleep(0)
            if number % 2:  # Data that comes in the same breath as the cancellation.
                right.send(b"early")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            if not number % 2:
                right.send(b"later")
            assert len(await loop.sock_recv(left, 100)) == 5
        buffer = bytearray(10)
        waiting = loop.create_task(loop.sock_recv_into(left, buffer))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        right.send(b"into")
        assert await loop.sock_recv_into(left, buffer) == 4 and buffer[:4] == b"into"
        left.close()
        right.close()

    play(body())


def test_an_accept_that_is_given_up_loses_no_client(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            waiting = loop.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, listener.getsockname())
                accepted, address = await loop.sock_accept(listener)
                assert address == client.getsockname()
                accepted.close()

    play(body())


def test_a_send_that_is_given_up_frees_the_socket_for_the_next(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        sending = loop.create_task(loop.sock_sendall(left, b"x" * (8 << 20)))
        await timer(0.01)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        while True:
            try:
                right.recv(1 << 20)
            except BlockingIOError:
                break
        await loop.sock_sendall(left, b"next")
        assert await loop.sock_recv(right, 100) == b"next"
        left.close()
        right.close()

    play(body())


def test_a_timeout_on_a_stream_loses_nothing(play: Play) -> None:
    async def body() -> None:
        left, right = pair()
        reader, writer = await asyncio.open_connection(sock=left)
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(10), 0.005)
        right.send(b"at last")
        assert await reader.read(10) == b"at last"
        writer.close()
        right.close()

    play(body())


def test_a_descriptor_closed_while_it_is_watched_does_not_speak_for_its_successor(
    play_ours: Play,
) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(20):
            left, right = pair()
            seen: list[str] = []
            loop.add_reader(left, seen.append, "the old one")
            await asyncio.sleep(0)
            number = left.fileno()
            left.close()
            right.close()
            new_left, new_right = pair()
            if new_left.fileno() != number:  # The lowest number that is free, on Linux.
                os.dup2(new_left.fileno(), number)
                new_left.close()
                new_left = socket.socket(fileno=number)
            loop.add_reader(number, lambda: seen.append(new_left.recv(10).decode()))
            new_right.send(b"new")
            await until(lambda: bool(seen))
            assert seen == ["new"]
            assert loop.remove_reader(number)
            new_left.close()
            new_right.close()

    play_ours(body())


def test_a_watched_descriptor_that_is_closed_costs_no_time(play_ours: Play) -> None:
    """The loop goes to sleep all the same."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        loop.add_reader(left, lambda: None)
        await asyncio.sleep(0)
        number = left.fileno()
        left.close()
        right.close()
        before = resource.getrusage(resource.RUSAGE_THREAD)
        await timer(0.2)
        after = resource.getrusage(resource.RUSAGE_THREAD)
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.1
        loop.remove_reader(number)

    play_ours(body())


def test_bad_descriptors_are_errors(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        for bad in (-1, object(), "x"):
            with pytest.raises((ValueError, OSError)):
                loop.add_reader(bad, lambda: None)
            with pytest.raises((ValueError, OSError)):
                loop.add_writer(bad, lambda: None)
        closed, other = pair()
        number = closed.fileno()
        closed.close()
        with pytest.raises(OSError):
            loop.add_reader(number, lambda: None)
        with open(__file__) as regular, pytest.raises(PermissionError):
            loop.add_reader(regular, lambda: None)
        assert not loop.remove_reader(number) and not loop.remove_writer(number)
        with pytest.raises(ValueError):
            other.setblocking(True)
            loop.set_debug(True)
            await loop.sock_recv(other, 10)
        other.close()

    play(body())


def test_a_transports_descriptor_is_not_for_others(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        left, right = pair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=left)
        for use in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                use(left.fileno(), lambda: None)
        for use in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                use(left.fileno())
        transport.close()
        right.close()

    play(body())


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, hard))
    try:
        while True:
            try:
                held.append(os.dup(held[0]))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)


def test_a_server_out_of_descriptors_goes_on_when_there_are_some(play: Play) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        writer.close()

    async def body() -> None:
        loop = asyncio.get_running_loop()
        told = told_to(loop)
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        clients = [socket.socket() for _ in range(3)]
        with no_more_descriptors():
            for client in clients:
                client.setblocking(False)
                await loop.sock_connect(client, server.sockets[0].getsockname())
                await loop.sock_sendall(client, b"x")
            await until(lambda: bool(told))
            assert told[0]["message"] == "socket.accept() out of system resource"
            assert isinstance(told[0]["exception"], OSError)
        # asyncio tries again after a second.
        for client in clients:
            assert await loop.sock_recv(client, 10) == b"x"
            client.close()
        server.close()

    play(body())


def test_a_loop_without_a_descriptor_is_an_error_that_passes() -> None:
    our_loop().close()
    gc.collect()
    before = open_fds()
    with no_more_descriptors(), pytest.raises(OSError):
        our_loop()
    gc.collect()
    assert open_fds() == before
    loop = our_loop()
    loop.run_until_complete(timer(0.001))
    loop.close()


def test_a_loop_may_be_closed_with_everything_open(make_loop: MakeLoop) -> None:
    gc.collect()
    before = open_fds()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop = make_loop()
        asyncio.set_event_loop(loop)

        async def leave_open() -> list[object]:
            left, right = pair()
            kept: list[object] = [right]
            kept += await loop.create_connection(asyncio.Protocol, sock=left)
            kept += await loop.create_datagram_endpoint(asyncio.DatagramProtocol,
                                                        local_addr=("127.0.0.1", 0))
            kept.append(await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0))
            other_left, other_right = pair()
            kept += [other_left, other_right, loop.call_later(3600, print)]
            loop.add_reader(other_right, lambda: None)
            return kept

        kept = loop.run_until_complete(leave_open())
        loop.close()
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_soon(print)
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_later(1, print)
        with pytest.raises(RuntimeError, match="closed"):
            loop.call_soon_threadsafe(print)
        with pytest.raises(RuntimeError, match="closed"):
            loop.run_forever()
        asyncio.set_event_loop(None)
        for one in kept:
            if isinstance(one, socket.socket):
                one.close()
        del kept, loop, one, leave_open
        for _ in range(3):
            gc.collect()
    assert open_fds() == before


def test_loops_that_are_dropped_leave_nothing(make_loop: MakeLoop) -> None:
    make_loop().close()
    gc.collect()
    before = open_fds()
    for _ in range(200):
        loop = make_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert open_fds() == before


def test_a_signal_wakes_the_loop(make_loop: MakeLoop) -> None:
    loop = make_loop()
    try:
        loop.add_signal_handler(signal.SIGUSR1, loop.stop)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        loop.run_forever()
        assert loop.remove_signal_handler(signal.SIGUSR1)
    finally:
        loop.close()


def test_an_interrupt_ends_the_wait(make_loop: MakeLoop) -> None:
    loop = make_loop()
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        loop.run_until_complete(timer(0.001))
    finally:
        loop.close()


def test_only_one_run_at_a_time(make_loop: MakeLoop) -> None:
    loop = make_loop()
    try:
        def again() -> None:
            with pytest.raises(RuntimeError, match="already running"):
                loop.run_forever()
            other = make_loop()
            with pytest.raises(RuntimeError, match="Cannot run the event loop while another"):
                other.run_forever()
            other.close()
            with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
                loop.close()

        ended: list[Callable[[], None]] = []
        loop.call_soon(lambda: (again(), ended.append(again), loop.stop()))
        loop.call_later(5, loop.stop)
        loop.run_forever()
        assert ended
    finally:
        loop.close()


def test_debug_mode_notices_the_wrong_thread(play: Play) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        found: list[str] = []

        def wrong() -> None:
            for schedule in (loop.call_soon, lambda f: loop.call_later(1, f)):
                try:
                    schedule(print)
                except RuntimeError as error:
                    found.append(str(error))

        await loop.run_in_executor(None, wrong)
        assert len(found) == 2 and all("Non-thread-safe operation" in text for text in found)

    play(body())
