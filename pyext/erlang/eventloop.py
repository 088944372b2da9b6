# SPDX-License-Identifier: Apache-2.0
"""The event loop: its heart is in C++, the rest is asyncio's own for Unix."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import selectors
import socket
import sys
import threading
from asyncio import constants, events, format_helpers, log, sslproto, trsock
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from erlang import _native

# What is private in asyncio has no type hints.
_base_events: Any = asyncio.base_events
_asyncio_loop: Any = asyncio.SelectorEventLoop
_native._prepare_loops()

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_DESCRIBES_IN_DEBUG_MODE_ONLY = sys.version_info >= (3, 13)


def _describe(handle: asyncio.Handle, loop: ErlangEventLoop) -> str:
    callback, args = handle._callback, handle._args  # type: ignore[attr-defined]
    options = {"debug": loop.get_debug()} if _DESCRIBES_IN_DEBUG_MODE_ONLY else {}
    text: str = format_helpers._format_callback_source(callback, args, **options)
    return text


class _Handles:
    """Those of a loop that wait for their turn, for what looks at them from outside."""

    __slots__ = ("_clear", "_list")

    def __init__(self, handles: Any, clear: Any) -> None:
        self._list = handles
        self._clear = clear

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[asyncio.Handle]:
        return iter(self._list())

    def __getitem__(self, index: int) -> asyncio.Handle:
        handle: asyncio.Handle = self._list()[index]
        return handle

    def clear(self) -> None:
        self._clear()

    def __repr__(self) -> str:
        return repr(self._list())


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """What a selector's get_map() returns."""

    def __init__(self, selector: _Selector) -> None:
        self._selector = selector

    def __getitem__(self, file: Any) -> selectors.SelectorKey:
        return self._selector.get_key(file)

    def __iter__(self) -> Iterator[int]:
        return iter(self._selector._loop._watched())

    def __len__(self) -> int:
        return len(self._selector._loop._watched())


class _Selector(selectors.BaseSelector):
    """The readers and writers of a loop, as asyncio's transports ask a selector for them."""

    def __init__(self, loop: ErlangEventLoop) -> None:
        self._loop = loop

    def get_key(self, file: Any) -> selectors.SelectorKey:
        try:
            wanted, reader, writer = self._loop._interest(file)
        except ValueError:
            wanted = 0
        if not wanted:
            raise KeyError(f"{file!r} is not registered")
        number = file if isinstance(file, int) else file.fileno()
        return selectors.SelectorKey(file, number, wanted, (reader, writer))

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return _Keys(self)

    def register(self, file: Any, events: int, data: Any = None) -> NoReturn:
        raise NotImplementedError("use the loop's add_reader and add_writer")

    def unregister(self, file: Any) -> NoReturn:
        raise NotImplementedError("use the loop's remove_reader and remove_writer")

    def select(self, timeout: float | None = None) -> NoReturn:
        raise NotImplementedError("the loop waits itself")

    def close(self) -> None:
        self._loop._close_reactor()


class ErlangEventLoop(_native.LoopCore, asyncio.SelectorEventLoop):
    """An asyncio event loop whose queue, timers and waiting are in C++.

    Any number of them may exist, each for one thread at a time. Inside Erlang there are no
    subprocesses and signals, which belong to the virtual machine.
    """

    # asyncio's own, for which it has no type hints.
    _internal_fds: int
    _ssock: Any
    _csock: Any
    _current_handle: asyncio.Handle | None
    _read_from_self: Callable[[], None]
    _check_running: Callable[[], None]
    _set_coroutine_origin_tracking: Callable[[bool], None]
    _asyncgen_firstiter_hook: Callable[[Any], None]
    _asyncgen_finalizer_hook: Callable[[Any], None]

    def __init__(self) -> None:
        try:
            self._open_reactor()
        except BaseException:
            self._closed = True  # There is nothing that could be closed.
            raise
        super().__init__(_Selector(self))

    # What asyncio keeps in Python.

    @property
    def _ready(self) -> _Handles:
        return _Handles(self._ready_handles, self._clear_ready)

    @_ready.setter
    def _ready(self, _handles: Any) -> None:
        pass

    @property
    def _scheduled(self) -> _Handles:
        return _Handles(self._scheduled_handles, self._clear_scheduled)

    @_scheduled.setter
    def _scheduled(self, _handles: Any) -> None:
        pass

    # Running.

    def run_forever(self) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        hooks = sys.get_asyncgen_hooks()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
            )
            events._set_running_loop(self)
            if self._has_own_iteration():
                while True:
                    self._run_once()
                    if self._stopping:
                        break
            else:
                self._run()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def _has_own_iteration(self) -> bool:
        return (
            "_run_once" in self.__dict__ or type(self)._run_once is not _native.LoopCore._run_once
        )

    def _callback_failed(self, handle: asyncio.Handle, exception: BaseException) -> None:
        context = {
            "message": f"Exception in callback {_describe(handle, self)}",
            "exception": exception,
            "handle": handle,
        }
        traceback = handle._source_traceback  # type: ignore[attr-defined]
        if traceback:
            context["source_traceback"] = traceback
        self.call_exception_handler(context)

    def _run_watched(self, handle: asyncio.Handle) -> None:
        """In debug mode: says so when it took long."""
        try:
            self._current_handle = handle
            start = self.time()
            handle._run()
            seconds = self.time() - start
            if seconds >= self.slow_callback_duration:
                _base_events.logger.warning(
                    "Executing %s took %.3f seconds", _base_events._format_handle(handle), seconds
                )
        finally:
            self._current_handle = None
            # A traceback may keep this frame, and must not keep what was called with it.
            del handle

    def _check_socket(self, sock: socket.socket) -> None:
        _base_events._check_ssl_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    # Transports.

    _ensure_fd_no_transport: Any
    _start_serving: Any

    def _accept_connection(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
    ) -> None:
        options = (sslcontext, server, backlog, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sslcontext is not None or self._debug:
            _asyncio_loop._accept_connection(self, protocol_factory, sock, *options)
            return
        for _ in range(backlog):
            try:
                connection, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                self._accept_later(error, protocol_factory, sock, *options)
                return
            connection.setblocking(False)
            # No task and no future, which only TLS has a use for.
            context = contextvars.copy_context()
            context.run(self._serve_connection, protocol_factory, connection, address, server)

    def _serve_connection(
        self, protocol_factory: Any, connection: socket.socket, address: Any, server: Any
    ) -> None:
        try:
            protocol = protocol_factory()
            _native.StreamTransport(
                self, connection, protocol, None, {"peername": address}, server
            )
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            connection.close()  # asyncio tells of it in debug mode only.

    def _accept_later(
        self, error: OSError, protocol_factory: Any, sock: socket.socket, *options: Any
    ) -> None:
        self.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": error,
                "socket": trsock.TransportSocket(sock),
            }
        )
        self._remove_reader(sock.fileno())
        self.call_later(
            constants.ACCEPT_RETRY_DELAY, self._accept_again, protocol_factory, sock, *options
        )

    def _accept_again(self, protocol_factory: Any, sock: socket.socket, *options: Any) -> None:
        if sock.fileno() != -1:
            self._start_serving(protocol_factory, sock, *options)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> _native.StreamTransport:
        self._ensure_fd_no_transport(sock)
        return _native.StreamTransport(self, sock, protocol, waiter, extra, server)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        **timeouts: Any,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        tls = sslproto.SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts
        )
        _native.StreamTransport(self, rawsock, tls, None, extra, server)
        return tls._app_transport

    def _make_datagram_transport(
        self,
        sock: Any,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: Any = None,
    ) -> Any:
        self._ensure_fd_no_transport(sock)
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            return _asyncio_loop._make_datagram_transport(
                self, sock, protocol, address, waiter, extra
            )
        return _native.DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _transport_failed(
        self, transport: Any, protocol: Any, exception: BaseException, message: str
    ) -> None:
        if not isinstance(exception, OSError):
            self._protocol_failed(transport, protocol, exception, message)
        elif self.get_debug():
            log.logger.debug("%r: %s", transport, message, exc_info=exception)

    def _protocol_failed(
        self, transport: Any, protocol: Any, exception: BaseException, message: str
    ) -> None:
        self.call_exception_handler(
            {
                "message": message,
                "exception": exception,
                "transport": transport,
                "protocol": protocol,
            }
        )

    # Signals: their pipe exists once somebody wants it.

    def _make_self_pipe(self) -> None:
        self._ssock = self._csock = None
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            self._remove_reader(self._ssock.fileno())
            self._ssock.close()
            self._csock.close()
        self._ssock = self._csock = None
        self._internal_fds -= 1

    def add_signal_handler(self, sig: int, callback: Any, *args: Any) -> None:
        """Call it when the signal arrives; in a plain python3 and its main thread only."""
        self._refuse_inside_erlang("signal handlers")
        if self._ssock is None and not self.is_closed():
            self._ssock, self._csock = socket.socketpair()
            self._ssock.setblocking(False)
            self._csock.setblocking(False)
            self._add_reader(self._ssock.fileno(), self._read_from_self)
        super().add_signal_handler(sig, callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Return whether there was one."""
        self._refuse_inside_erlang("signal handlers")
        return super().remove_signal_handler(sig)

    # Subprocesses.

    async def subprocess_shell(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_inside_erlang("subprocesses")
        return await super().subprocess_shell(*args, **kwargs)

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_inside_erlang("subprocesses")
        return await super().subprocess_exec(*args, **kwargs)

    @staticmethod
    def _refuse_inside_erlang(what: str) -> None:
        if _native.is_inside_erlang:
            raise NotImplementedError(f"{what} belong to the Erlang VM here: use ports there")


def new_event_loop() -> ErlangEventLoop:
    """Return a new loop, also as loop_factory of asyncio.Runner."""
    return ErlangEventLoop()


def run(main: Any, *, debug: bool | None = None) -> Any:
    """Run a coroutine on a loop of its own, as asyncio.run does, and return what it returns."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("erlang.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
