# SPDX-License-Identifier: Apache-2.0
"""The native half of the package. What can be a term is typed Any: see docs/types.md."""

from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from types import TracebackType
from typing import Any, TypedDict, final

class _ChannelInfo(TypedDict):
    size: int
    max_size: int
    closed: bool

class ChannelClosed(Exception):
    """The channel is closed, and what was queued has been received."""

class ProcessError(Exception):
    """There is no such Erlang process."""

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
class ReceiveAwaitable(Coroutine[Any, Any, Any]):
    """What an asynchronous method returns: use it as any coroutine."""

    __name__: str
    __qualname__: str
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> ReceiveAwaitable: ...
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
class ChannelIterator(Iterator[Any]):
    """What iter(channel) returns: blocks for messages, ends when the channel does."""

    def __iter__(self) -> ChannelIterator: ...
    def __next__(self) -> Any: ...

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
        once the channel is closed and drained, TimeoutError.
        """
    def try_receive(self) -> Any:
        """Take the oldest message, or return None if there is none.

        Never blocks; raises ChannelClosed.
        """
    def async_receive(self) -> ReceiveAwaitable:
        """Take the oldest message; a coroutine that waits on the running asyncio loop.

        Cancelling it loses no message. Raises ChannelClosed.
        """
    def send(self, term: Any, timeout: float | None = None) -> None:
        """Queue a term; block while the channel is full, without the GIL.

        timeout is in seconds. Raises ChannelClosed, TimeoutError, ValueError if the term is larger
        than max_size, TypeError if it cannot be converted.
        """
    def try_send(self, term: Any, /) -> bool:
        """Queue a term and return True, or False if the channel is full. Never blocks."""
    def close(self) -> None:
        """Refuse further messages and wake everybody who waits. Idempotent."""
    def info(self) -> _ChannelInfo:
        """Return {'size': bytes queued, 'max_size': bytes or 0, 'closed': bool}."""
    def __iter__(self) -> ChannelIterator: ...
    def __aiter__(self) -> Channel: ...
    def __anext__(self) -> ReceiveAwaitable: ...
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

def send(pid: Pid, term: Any, /) -> None:
    """Send a term to an Erlang process. Never blocks.

    Raises ProcessError if there is no such process, TypeError if term cannot be converted.
    """

def reply(pid: Pid, term: Any, /) -> bool:
    """Send an answer to an Erlang process and return True.

    As send, but a str that is the first element of a tuple arrives as an atom:
    reply(pid, ('result', 1)) is received as {result, 1}.
    """

def whereis(name: str | bytes | Atom, /) -> Pid | None:
    """Return the pid registered under name, or None."""

def atom(name: str, /) -> Atom:
    """Return the Erlang atom of that name, of at most 255 characters."""
