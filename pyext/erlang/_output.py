# SPDX-License-Identifier: Apache-2.0
"""sys.stdout and sys.stderr of contexts, and the way of log records to Erlang.

Everything goes through one channel to the process py_output, so what one thread prints and logs
arrives in that order. The channel is bounded: whoever is faster than Erlang waits in print() or in
the logging call, and that wait ends as any inside Penstock does. Messages are

(text, stdout | stderr, caller, UTF-8)
(log, level, caller, UTF-8, (file, line, logger, module, function, thread), microseconds)
(sync, channel, number)     the number comes back when what was sent before has been handled

where caller is the pid of the Erlang process whose call writes, or None. In a worker process the
channel is one of its own, which passes on to the VM what the VM has room for.

Threads: any. No lock is held while a thread waits here.
"""

import codecs
import io
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any, NoReturn, TextIO

from erlang import _native
from erlang._native import Atom, Channel, ChannelClosed, Pid

__all__ = ["OutputStream", "install", "send"]

# Characters of one message; four bytes each at most.
_PIECE = 65536
# Characters of a line that has not ended before its beginning is sent.
_MAX_LINE = 8192
# Seconds that the end of a call waits for its output to be handled.
_PATIENCE = 5.0


class _Outlet:
    """The channel to py_output, looked up again when it has been closed."""

    # Erlang expects atoms, which are made in the VM only.
    text: Any = "text"
    log: Any = "log"
    sync: Any = "sync"

    channel: Channel | None = None
    is_cut = False  # In a child made by fork: nobody takes anything there.

    def current(self) -> Channel | None:
        channel = self.channel
        if channel is None and not self.is_cut:
            ref = _native._output_channel()
            channel = None if ref is None else Channel(ref)
            self.channel = channel
        return channel

    def forget(self, channel: Channel) -> None:
        if self.channel is channel:
            self.channel = None

    def cut(self) -> None:
        self.is_cut = True
        self.channel = None


outlet = _Outlet()


def send(message: tuple[Any, ...]) -> bool:
    """Queue a message to py_output; wait for room. False: the application does not run.

    Raises KeyboardInterrupt and ApplicationStopped, as every wait in Penstock does, and ValueError
    if the message is too large.
    """
    while (channel := outlet.current()) is not None:
        try:
            channel.send(message)
            return True
        except ChannelClosed:
            outlet.forget(channel)
    return False


def encoded(text: str) -> bytes:
    """Half a surrogate pair has no UTF-8, and is written as an escape."""
    return text.encode("utf-8", "backslashreplace")


class _Line:
    """The line that one thread has begun to write to one stream."""

    def __init__(self, stream: "OutputStream") -> None:
        self.stream = stream
        self.caller: Pid | None = None
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.parts: list[str] = []
        self.size = 0

    def take(self) -> str:
        # A finalizer that prints may run between any two steps; what it adds stays.
        parts, self.parts, self.size = self.parts, [], 0
        return "".join(parts)

    def flush(self) -> None:
        if self.parts:
            caller = self.caller
            self.stream.send_text(self.take(), caller)

    def __del__(self) -> None:
        """The thread ends."""
        try:
            self.flush()
        except BaseException:
            # The thread stops as well as the application.
            pass


class OutputStream(io.TextIOBase):
    """A text stream whose lines go to Erlang; to `original` while the application does not run.

    Each thread has a line of its own, which is sent when it ends, is long, or flush() is called, so
    lines of threads do not mix. write() waits while Erlang is slower. close() does nothing but
    flush, because the stream belongs to everybody in the VM.
    """

    mode = "w"
    line_buffering = True
    write_through = False

    def __init__(self, name: str, kind: Atom, original: TextIO | None) -> None:
        self.name = name
        self._kind = kind
        self._original = original
        self._local = threading.local()
        self._bytes = _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """For those who write bytes, of UTF-8."""
        return self._bytes

    def line(self) -> _Line:
        """The calling thread's."""
        try:
            return self._local.line  # type: ignore[no-any-return]
        except AttributeError:
            line = self._local.line = _Line(self)
            return line

    def write(self, text: str, /) -> int:
        """Write text, and return its length. Raises as send() does."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        caller = _native._caller()
        if caller is not None:
            _native._note_output()
        line = self.line()
        if line.caller != caller:
            line.flush()
            line.caller = caller
        end = text.rfind("\n") + 1
        if not end and line.size + len(text) > _MAX_LINE:
            end = len(text)
        if not end:
            if text:
                line.parts.append(text)
                line.size += len(text)
            return len(text)
        whole = text if end == len(text) else text[:end]
        if line.parts:
            whole = line.take() + whole
        if end < len(text):
            line.parts.append(text[end:])
            line.size += len(text) - end
        self.send_text(whole, caller)
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send what this thread has written of a line."""
        self.line().flush()

    def send_text(self, text: str, caller: Pid | None) -> None:
        for start in range(0, len(text), _PIECE):
            piece = text if len(text) <= _PIECE else text[start:start + _PIECE]
            if not send((outlet.text, self._kind, caller, encoded(piece))):
                self.write_original(text[start:])
                return

    def write_original(self, text: str) -> None:
        """Without Erlang."""
        original = self._original
        if original is None:
            return
        try:
            original.write(text)
            original.flush()
        except (OSError, ValueError):
            pass  # As the VM's own output: nobody is left to tell.

    def close(self) -> None:
        self.flush()

    def reconfigure(self, **_settings: object) -> None:
        """Do nothing but flush: text is text in Erlang."""
        self.flush()

    def fileno(self) -> int:
        """The VM's own descriptor, for subprocesses; Erlang does not see what they write."""
        if self._original is None:
            raise io.UnsupportedOperation("fileno")
        return self._original.fileno()

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def detach(self) -> NoReturn:
        raise io.UnsupportedOperation("detach")

    def __repr__(self) -> str:
        return f"<erlang output stream {self.name}>"


class _Bytes(io.BufferedIOBase):
    """The binary side of a stream."""

    def __init__(self, stream: OutputStream) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        self._stream.write(self._stream.line().decoder.decode(view))
        return view.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def raw(self) -> "_Bytes":  # type: ignore[override]
        return self


class _Reply(threading.local):
    """Where a thread's sync comes back."""

    def __init__(self) -> None:
        self.channel = Channel(_native._reply_channel())
        self.number = 0


_reply = _Reply()
# Not sys's: those may be replaced while a call has a line begun.
_streams: list[OutputStream] = []


def _settle() -> None:
    """At the end of a call that has written: waits until Erlang has handled it.

    So the caller, and whoever it tells, finds the output where it belongs.
    """
    for stream in _streams:
        stream.flush()
    reply = _reply
    reply.number += 1
    if not send((outlet.sync, reply.channel, reply.number)):
        return
    try:
        while reply.channel.receive(_PATIENCE) != reply.number:
            pass  # Of a wait that was interrupted.
    except TimeoutError:
        pass  # A leader or a logger handler is slow; it is not the caller's fault.


def install(logs: bool, text: bool) -> None:
    """Called once, by the interpreter inside the VM or the worker, before other code runs."""
    for name in ("text", "log", "sync"):
        setattr(outlet, name, _native.atom(name))
    if text:
        stdout = OutputStream("<stdout>", _native.atom("stdout"), sys.__stdout__)
        stderr = OutputStream("<stderr>", _native.atom("stderr"), sys.__stderr__)
        _streams.extend((stdout, stderr))
        sys.stdout, sys.stderr = stdout, stderr  # type: ignore[assignment]
    if logs:
        import logging

        from erlang.logging import Handler

        logging.getLogger().addHandler(Handler())
    os.register_at_fork(after_in_child=outlet.cut)
    _native._at_call_end(_settle)
