# SPDX-License-Identifier: Apache-2.0
"""The native half of the package. What can be a term is typed Any: see docs/types.md."""

import asyncio
from _typeshed import ReadableBuffer, WriteableBuffer
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Iterator
from contextvars import Context
from erlang.calls import AsyncCall
from socket import socket
from types import TracebackType
from typing import (
    Any,
    Generic,
    SupportsIndex,
    TypeAlias,
    TypedDict,
    TypeVar,
    final,
    overload,
)

_T_co = TypeVar("_T_co", covariant=True)
_F = TypeVar("_F", bound=Callable[..., Any])

class _ChannelInfo(TypedDict):
    size: int
    max_size: int
    closed: bool

class _ByteChannelInfo(_ChannelInfo):
    pinned: int

class ChannelClosed(Exception):
    """The channel is closed, and what was queued has been received."""

class ByteChannelClosed(Exception):
    """The byte channel is closed, and what was queued has been received."""

class ProcessError(Exception):
    """There is no such Erlang process."""

class BufferAborted(ConnectionAbortedError):
    """The writer of a buffer gave up or died before the end."""

    reason: Any
    """The Erlang term; None if it is not known."""

class BodyTruncated(BufferAborted):
    """A buffer was closed before as many bytes as announced had come."""

    expected: int
    received: int

class SuspensionRequired(BaseException):
    """Never raised; the name exists for programs that mention it."""

class ApplicationStopped(SystemExit):
    """The Erlang application that runs this code stops."""

class _Opaque:
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Pid(_Opaque): ...

@final
class Ref(_Opaque): ...

@final
class Port(_Opaque): ...

@final
class Fun(_Opaque): ...

@final
class Atom:
    """An Erlang atom; equal to other atoms only, never to a str."""

    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: Atom, /) -> bool: ...
    def __le__(self, other: Atom, /) -> bool: ...
    def __gt__(self, other: Atom, /) -> bool: ...
    def __ge__(self, other: Atom, /) -> bool: ...

@final
class ReceiveAwaitable(Coroutine[Any, Any, _T_co], Generic[_T_co]):
    """What an asynchronous method returns: use it as any coroutine."""

    __name__: str
    __qualname__: str
    def __await__(self) -> Generator[Any, Any, _T_co]: ...
    def __iter__(self) -> ReceiveAwaitable[_T_co]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = ...,
        tb: TracebackType | None = ...,
        /,
    ) -> Any: ...
    def close(self) -> None: ...

@final
class ChannelIterator(Iterator[_T_co], Generic[_T_co]):
    """What iter(channel) returns: blocks for messages, ends when the channel does."""

    def __iter__(self) -> ChannelIterator[_T_co]: ...
    def __next__(self) -> _T_co: ...

class Channel(AsyncIterator[Any]):
    """One queue of messages between Erlang and Python; safe to share between threads and loops."""

    def __init__(self, ref: object) -> None:
        """ref: a channel as Erlang passes it, or another Channel of the same queue."""
    @property
    def closed(self) -> bool:
        """Whether sends are refused; messages may still be queued."""
    def receive(self, timeout: float | None = None, *, timeout_ms: float | None = None) -> Any:
        """Take the oldest message; block until there is one, without the GIL.

        timeout is in seconds, timeout_ms in milliseconds (negative: none). Raises ChannelClosed
        once the channel is closed and drained, TimeoutError."""
    def try_receive(self) -> Any:
        """Take the oldest message, or return None if there is none.

        Never blocks; raises ChannelClosed."""
    def async_receive(self) -> ReceiveAwaitable[Any]:
        """Take the oldest message; a coroutine that waits on the running asyncio loop.

        Cancelling it loses no message. Raises ChannelClosed."""
    def send(self, term: Any, timeout: float | None = None) -> None:
        """Queue a term; block while the channel is full, without the GIL.

        timeout is in seconds. Raises ChannelClosed, TimeoutError, ValueError if the term is larger
        than max_size, TypeError if it cannot be converted."""
    def try_send(self, term: Any, /) -> bool:
        """Queue a term and return True, or False if the channel is full. Never blocks."""
    def close(self) -> None:
        """Refuse further messages and wake everybody who waits. Idempotent."""
    def info(self) -> _ChannelInfo:
        """Return {'size': bytes queued, 'max_size': bytes or 0, 'closed': bool}."""
    def __iter__(self) -> ChannelIterator[Any]: ...
    def __aiter__(self) -> Channel: ...
    def __anext__(self) -> ReceiveAwaitable[Any]: ...
    def __enter__(self) -> Channel: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class PyBuffer(Iterator[bytes]):
    """Bytes that Erlang writes, read as a binary file; safe to share between threads and loops.

    len() is what is there; so it is false while nothing is. A memoryview of it shows what is unread
    at that moment, takes nothing, and stays valid. Iterating takes lines.

    Reading methods raise BufferAborted or BodyTruncated when they need bytes that will never come,
    and then take nothing."""

    @property
    def closed(self) -> bool:
        """Whether close() was called here, in Python."""
    def read(self, size: SupportsIndex | None = -1) -> bytes:
        """Take size bytes, or everything to the end if size is negative or None; b'' is the end.

        Blocks without the GIL. If the length of the whole is not known, a sized read returns what
        is there, one byte at least."""
    def read1(self, size: SupportsIndex | None = -1) -> bytes:
        """Take at most size bytes of what is there; block only while that is nothing."""
    def read_nonblock(self, size: SupportsIndex | None = -1) -> bytes:
        """Take at most size bytes of what is there; b'' if that is nothing. Never blocks."""
    def readall(self) -> bytes:
        """Take everything to the end, as read()."""
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """read(len(buffer)) into writable memory; return how many bytes."""
    def readinto1(self, buffer: WriteableBuffer, /) -> int:
        """read1(len(buffer)) into writable memory; return how many bytes."""
    def readline(self, size: SupportsIndex | None = -1, /) -> bytes:
        """Take a line with its newline, or size bytes of it, or the rest before the end. Blocks."""
    def readlines(self, hint: SupportsIndex | None = -1) -> list[bytes]:
        """Return a list of lines: all to the end, or as many as make up hint bytes. Blocks."""
    def aread(self, size: SupportsIndex | None = -1) -> Coroutine[Any, Any, bytes]:
        """read() as a coroutine that waits on the running asyncio loop.

        Cancelling it loses nothing."""
    def aread1(self, size: SupportsIndex | None = -1) -> Coroutine[Any, Any, bytes]:
        """read1() as a coroutine."""
    def areadline(self, size: SupportsIndex | None = -1) -> Coroutine[Any, Any, bytes]:
        """readline() as a coroutine; so is each step of async for."""
    def peek(self, size: SupportsIndex | None = 0) -> bytes:
        """Return what is there, at most size (0: 8192) bytes, without taking it. Never blocks."""
    def readable_amount(self) -> int:
        """Return how many bytes are there; the same as len()."""
    def at_eof(self) -> bool:
        """Whether everything has been read, and no more will come.

        Raises as read() if the writer gave up and nothing is left."""
    def seek(self, offset: SupportsIndex, whence: SupportsIndex | None = 0) -> int:
        """Go to a position that has been written (and is retained), and return it.

        whence is 0 (the beginning), 1 (here) or 2 (the end, once that is known). Raises ValueError.
        """
    def tell(self) -> int:
        """Return the read position: bytes from the beginning."""
    def find(
        self,
        sub: ReadableBuffer | SupportsIndex,
        start: SupportsIndex | None = 0,
        end: SupportsIndex | None = None,
    ) -> int:
        """Return where sub, bytes or a byte's number, is first found in what is there, or -1.

        All places are relative to the read position. Never blocks."""
    def readable(self) -> bool:
        """True."""
    def writable(self) -> bool:
        """False."""
    def seekable(self) -> bool:
        """Whether what has been read is retained, so that seek() can go back."""
    def isatty(self) -> bool:
        """False."""
    def flush(self) -> None:
        """Do nothing."""
    def fileno(self) -> int:
        """Raise io.UnsupportedOperation."""
    def close(self) -> None:
        """Refuse what would still be written. What is there can still be read. Idempotent."""
    def __iter__(self) -> PyBuffer: ...
    def __next__(self) -> bytes: ...
    def __aiter__(self) -> PyBuffer: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __enter__(self) -> PyBuffer: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class ByteView:
    """Bytes of a message, read-only, with the buffer protocol.

    The memory lives until the last view of it and the last memoryview go. A slice shares it if it
    is at least 4 KiB and a quarter of what it keeps alive; other slices are copies."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> ByteView: ...
    def __iter__(self) -> Iterator[int]: ...
    def __hash__(self) -> int:
        """The hash of bytes with the same contents."""
    def __eq__(self, other: object, /) -> bool:
        """Whether the contents are those of other, which is any bytes-like object."""
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __bytes__(self) -> bytes: ...
    def tobytes(self) -> bytes:
        """Return the contents as bytes."""
    def release(self) -> None:
        """Give the memory up. Raises BufferError while memoryviews of it exist.

        Afterwards every use of the contents raises ValueError."""
    def __enter__(self) -> ByteView: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

_BytesLike: TypeAlias = bytes | bytearray | memoryview | ByteView

class ByteChannel(AsyncIterator[bytes]):
    """One queue of bytes messages between Erlang and Python; safe to share between threads and
    loops."""

    def __init__(self, ref: object) -> None:
        """ref: a byte channel as Erlang passes it, or another ByteChannel of the same queue."""
    @property
    def closed(self) -> bool:
        """Whether sends are refused; messages may still be queued."""
    def receive_bytes(
        self, timeout: float | None = None, *, timeout_ms: float | None = None
    ) -> bytes:
        """Take the oldest message; block until there is one, without the GIL.

        timeout is in seconds, timeout_ms in milliseconds (negative: none). Raises
        ByteChannelClosed once the channel is closed and drained, TimeoutError."""
    def try_receive_bytes(self) -> bytes | None:
        """Take the oldest message, or return None if there is none.

        Never blocks; raises ByteChannelClosed."""
    def receive_many(
        self,
        max_count: int = 64,
        timeout: float | None = None,
        *,
        timeout_ms: float | None = None,
    ) -> list[bytes]:
        """Block for one message as receive_bytes() does, then take what else is queued, max_count
        messages at most. Return a list of at least one."""
    def receive_view(
        self,
        timeout: float | None = None,
        *,
        timeout_ms: float | None = None,
        in_place: bool = False,
    ) -> ByteView:
        """As receive_bytes(), but return a ByteView, which does not copy large messages; with
        in_place none of 8 KiB between processes, either, and senders lack room until it goes."""
    def async_receive_bytes(self) -> ReceiveAwaitable[bytes]:
        """Take the oldest message; a coroutine that waits on the running asyncio loop.

        Cancelling it loses no message. Raises ByteChannelClosed."""
    def async_receive_view(self, *, in_place: bool = False) -> ReceiveAwaitable[ByteView]:
        """As async_receive_bytes(), but return a ByteView, as receive_view() does."""
    def send_bytes(self, data: _BytesLike, timeout: float | None = None) -> bool:
        """Queue one message and return True; block while the channel is full, without the GIL.

        data is bytes, or bytes-like and C-contiguous; bytes of 8 KiB or more are not copied.
        timeout is in seconds. Raises ByteChannelClosed, TimeoutError, ValueError if data is larger
        than max_size, TypeError."""
    def try_send_bytes(self, data: _BytesLike, /) -> bool:
        """Queue one message and return True, or False if the channel is full. Never blocks."""
    def send_many(self, chunks: Iterable[_BytesLike], timeout: float | None = None) -> int:
        """Queue each element of an iterable as send_bytes() does, and return how many there were.

        timeout is for all together. Whatever exception ends it early (of this channel or of
        chunks) has an attribute sent: the number of messages queued before, which stay queued."""
    def close(self) -> None:
        """Refuse further messages and wake everybody who waits. Idempotent."""
    def info(self) -> _ByteChannelInfo:
        """Return {'size': bytes queued, 'max_size': bytes or 0, 'closed': bool, 'pinned': bytes of
        large binaries that queued messages and views keep alive}."""
    def __iter__(self) -> ChannelIterator[bytes]: ...
    def __aiter__(self) -> ByteChannel: ...
    def __anext__(self) -> ReceiveAwaitable[bytes]: ...
    def __enter__(self) -> ByteChannel: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

class _Marker:
    """Return it from a function that Erlang called, and the call goes on as it says."""

    @property
    def module(self) -> str | None:
        """None: func is a function of Erlang."""
    @property
    def func(self) -> str: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> dict[str, Any] | None: ...
    @property
    def _globals(self) -> dict[str, Any] | None: ...

@final
class ScheduleMarker(_Marker): ...

@final
class InlineScheduleMarker(_Marker): ...

def _sleep(seconds: float, /) -> None:
    """Block this thread, without the GIL; interrupts end it, and the application's stop."""

def call(name: str, /, *args: Any) -> Any:
    """Call the Erlang function registered under name, and return what it returns.

    Blocks, without the GIL, for as long as it takes; from any thread. Raises RuntimeError if it
    fails or there is none, with the attributes error_class, reason and stack."""

def _start_call(name: str, /, *args: Any) -> AsyncCall:
    """Return a future of the running loop for a call's result."""

def schedule(name: str, /, *args: Any) -> ScheduleMarker:
    """Return a marker: returned to Erlang, the call goes on with an Erlang function."""

def schedule_py(
    module: str,
    func: str,
    args: list[Any] | tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
) -> ScheduleMarker:
    """Return a marker: returned to Erlang, the call goes on with a Python function, behind all
    requests that wait for the context. The arguments are converted as those from Erlang are."""

def schedule_inline(
    module: str,
    func: str,
    args: list[Any] | tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
) -> InlineScheduleMarker:
    """Return a marker: returned to Erlang, the call goes on with a Python function, after one other
    request had its turn. The arguments stay what they are."""

def consume_time_slice(percent: int, /) -> bool:
    """Count percent (1 to 100) of a time slice of 1 ms as used, beside the time that has passed.
    Return whether it is used up, and the work is to be split."""

def send(pid: Pid, term: Any, /) -> None:
    """Send a term to an Erlang process. Never blocks.

    Raises ProcessError if there is no such process, TypeError if term cannot be converted."""

def reply(pid: Pid, term: Any, /) -> bool:
    """Send an answer to an Erlang process and return True.

    As send, but a str that is the first element of a tuple arrives as an atom:
    reply(pid, ('result', 1)) is received as {result, 1}."""

def whereis(name: str | bytes | Atom, /) -> Pid | None:
    """Return the pid registered under name, or None."""

def atom(name: str, /) -> Atom:
    """Return the Erlang atom of that name, of at most 255 characters."""

def _caller() -> Pid | None:
    """Return the pid of the Erlang process whose call runs on this thread, or None."""

def _serve_worker(socket: int, /) -> None:
    """Run what the VM at the other end of the socket, a descriptor, asks for, until it says that
    this is enough. If the VM is gone the process ends at once. Only in the main thread, once."""

# For the command `penstock`.
def _layout() -> dict[str, dict[str, int]]: ...
def _try_io_uring() -> int: ...

def _create_shared(address: bytes, max_size: int, is_bytes: bool, /) -> tuple[object, bool]: ...
def _connect_shared(address: bytes | int, timeout: float | None, /) -> tuple[object, bool]: ...
def _invite_to_shared(channel: Channel | ByteChannel, /) -> int: ...
def _remove_shared_names() -> None: ...
def _note_output() -> None:
    """The call that runs on this thread, if any, has written something."""

def _output_channel() -> object | None:
    """Return the reference of the channel that output goes to, or None: nobody takes it."""

def _reply_channel() -> object:
    """Return the reference of a new channel without limit."""

def _at_call_end(callable: Callable[[], object], /) -> None:
    """Have callable called at the end of each call that has written something."""

is_inside_erlang: bool
is_main_interpreter: bool

def _prepare_loops() -> None: ...

def _stream_read_method(original: _F, /) -> _F:
    """Return what does the same in C++ for readers of erlang.streams.StreamReader."""

class LoopCore:
    """The C++ half of erlang.ErlangEventLoop, whose first base it is: the methods of
    asyncio.AbstractEventLoop that are called often."""

    _debug: bool
    _closed: bool
    _stopping: bool
    _thread_id: int | None
    _task_factory: Any
    @property
    def backend(self) -> str:
        """What the loop sleeps in: 'io_uring' or 'epoll'."""
    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[Any]: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    def _add_callback(self, handle: asyncio.Handle) -> None: ...
    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None: ...
    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None: ...
    def remove_reader(self, fd: Any) -> bool: ...
    def remove_writer(self, fd: Any) -> bool: ...
    def _add_reader(
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> asyncio.Handle: ...
    def _add_writer(
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> asyncio.Handle: ...
    def _remove_reader(self, fd: Any) -> bool: ...
    def _remove_writer(self, fd: Any) -> bool: ...
    def _interest(self, fd: Any) -> tuple[int, asyncio.Handle | None, asyncio.Handle | None]: ...
    def _watched(self) -> list[int]: ...
    def sock_recv(self, sock: socket, n: int) -> Coroutine[Any, Any, bytes]: ...
    def sock_recv_into(self, sock: socket, buf: Any) -> Coroutine[Any, Any, int]: ...
    def sock_recvfrom(self, sock: socket, bufsize: int) -> Coroutine[Any, Any, Any]: ...
    def sock_recvfrom_into(
        self, sock: socket, buf: Any, nbytes: int = 0
    ) -> Coroutine[Any, Any, Any]: ...
    def sock_sendall(self, sock: socket, data: Any) -> Coroutine[Any, Any, None]: ...
    def sock_sendto(self, sock: socket, data: Any, address: Any) -> Coroutine[Any, Any, Any]: ...
    def sock_accept(self, sock: socket) -> Coroutine[Any, Any, tuple[socket, Any]]: ...
    def time(self) -> float: ...
    def stop(self) -> None: ...
    def is_closed(self) -> bool: ...
    def is_running(self) -> bool: ...
    def get_debug(self) -> bool: ...
    def _check_closed(self) -> None: ...
    def _run_once(self) -> None: ...
    def _run(self) -> None: ...
    def _write_to_self(self) -> None: ...
    def _open_reactor(self) -> None: ...
    def _close_reactor(self) -> None: ...
    def _ready_handles(self) -> list[asyncio.Handle]: ...
    def _scheduled_handles(self) -> list[asyncio.TimerHandle]: ...
    def _clear_ready(self) -> None: ...
    def _clear_scheduled(self) -> None: ...

class BaseTransport:
    """What the transports of sockets have in common."""

class StreamTransport(BaseTransport, asyncio.Transport):
    """The transport of a connected TCP or Unix socket, as asyncio's own."""

    def __init__(
        self,
        loop: Any,
        sock: socket,
        protocol: Any,
        waiter: Any = None,
        extra: Any = None,
        server: Any = None,
        /,
    ) -> None: ...

class DatagramTransport(BaseTransport, asyncio.DatagramTransport):
    """The transport of a datagram socket, as asyncio's own."""

    def __init__(
        self,
        loop: Any,
        sock: socket,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: Any = None,
        /,
    ) -> None: ...

class TaskServer:
    """Takes the requests of this thread's context in its event loop, which must be ours."""

    def __new__(cls, loop: Any, closed: asyncio.Future[None], /) -> TaskServer: ...
    def end(self) -> None:
        """Answer what still runs: its context ends."""
