# SPDX-License-Identifier: Apache-2.0
"""Runs a WSGI application (PEP 3333) for py_wsgi, the half of the server that is in Erlang.

Threads: each context of a server runs serve(); all of them take requests from one channel.
Cost: a request and a short response are one message each. Nothing here blocks but the application,
reads of a body that has not arrived, and writes to a client that is slower than the application.

A request is the tuple
(response channel, body, length of the body or None, method, target, protocol, scheme, client's
address, client's port, server's name, server's port, [(header name, value), ...])
where body is None, bytes or a PyBuffer. A response is the message (status, [(name, value), ...],
data, complete), then, unless complete, bytes, and True at its end. A channel that is closed before
its end is a response that failed.
"""

import importlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TextIO, TypeAlias
from urllib.parse import unquote_to_bytes
from wsgiref.handlers import BaseHandler
from wsgiref.headers import Headers
from wsgiref.util import FileWrapper

from erlang._native import Channel, ChannelClosed, Pid, send

__all__ = ["Handler", "load", "serve"]

_Environ: TypeAlias = dict[str, Any]
_Application: TypeAlias = Callable[[_Environ, Callable[..., Any]], Iterable[bytes]]
_Headers: TypeAlias = list[tuple[str | bytes, str | bytes]]

# What would end a header line early, or cannot be sent at all.
_illegal = re.compile("[\x00-\x08\n-\x1f\x7f]|[^\x00-\xff]").search

# Seconds that a write waits before it asks whether its connection's process was killed, which is
# the one end that nobody tells it.
_PATIENCE = 1.0

# A client may invent names, so this does not grow for ever.
_MAX_KNOWN_NAMES = 1024
# No field of their own: the server answers for the length, and a variable HTTP_PROXY is taken for a
# setting by some HTTP clients.
_known_names: dict[str | bytes, str] = {"content-length": "", "proxy": ""}


class _FileWrapper(FileWrapper):
    """wsgi.file_wrapper, with blocks of the size in which a response travels."""

    def __init__(self, filelike: BinaryIO, blksize: int = 65536) -> None:
        super().__init__(filelike, blksize)


class _OwnHeaders(Headers):
    """Leaves the list of the application, which may use it again, as it is."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        super().__init__(list(headers) if type(headers) is list else headers)


def load(application: str, paths: list[str]) -> _Application:
    """Import "module:callable" (by default "application"), which may be dotted on both sides.

    paths are searched first. Raises whatever the import does, TypeError if that is not callable.
    """
    for path in reversed(paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    module, _, name = application.partition(":")
    found: Any = importlib.import_module(module)
    for part in (name or "application").split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{application} is not callable but of type {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def check(application: str, paths: list[str]) -> bool:
    """As load, for a caller that is not in Python."""
    load(application, paths)
    return True


class _Slot:
    """What one thread works on."""

    request: tuple[Any, ...] | None = None


# By server and place: of the threads that serve. A context that was killed may leave a thread
# behind that runs code which cannot be interrupted; its successor gives up its request.
_slots: dict[tuple[int, int], _Slot] = {}


def serve(
    key: int, index: int, requests: object, application: str, high_water: int, server: Pid
) -> int:
    """Handle requests until their channel is closed and drained; return how many that were.

    key names the server, index the place of this thread in it. A response may have high_water
    bytes under way before its writer waits. server is asked whether a client that takes long is
    still there.
    """
    place = (key, index)
    predecessor = _slots.get(place)
    slot = _slots[place] = _Slot()
    if predecessor is not None and predecessor.request is not None:
        Channel(predecessor.request[0]).close()
    app = load(application, [])
    piece = max(high_water // 4, 1)
    served = 0
    try:
        for request in Channel(requests):
            slot.request = request
            if _slots.get(place) is not slot:
                break  # The successor may have looked before there was this request.
            handler = Handler(request, piece, server)
            try:
                handler.run(app)
            except Exception:
                handler.log_exception(sys.exc_info())
            finally:
                handler.end()
            slot.request = None
            served += 1
            if _slots.get(place) is not slot:
                break
    finally:
        # An interrupt may have come between any two steps above.
        if slot.request is not None:
            Channel(slot.request[0]).close()
        if _slots.get(place) is slot:
            del _slots[place]
    return served


def native(text: str | bytes) -> str:
    """Text as PEP 3333 wants it: one character for each byte."""
    if isinstance(text, bytes):
        return text.decode("latin-1")
    return text if text.isascii() else text.encode().decode("latin-1")


def _variable(name: str | bytes) -> str:
    """The environ key of a header; empty if it has none."""
    known = _known_names.get(name)
    if known is not None:
        return known
    text = native(name).lower()
    if text in _known_names:
        variable = _known_names[text]
    elif "_" in text:
        variable = ""  # Would be taken for the same name with a hyphen.
    else:
        variable = text.upper().replace("-", "_")
        if text != "content-type":
            variable = "HTTP_" + variable
    if len(_known_names) < _MAX_KNOWN_NAMES:
        _known_names[name] = variable
    return variable


def _add_headers(environ: _Environ, headers: _Headers) -> None:
    for name, value in headers:
        variable = _variable(name)
        if not variable:
            continue
        text = native(value)
        if variable in environ:
            separator = "; " if variable == "HTTP_COOKIE" else ","
            text = f"{environ[variable]}{separator}{text}"
        environ[variable] = text


def _split(target: str) -> tuple[str, str]:
    """The path, unquoted, and the query of a request target in any of its forms."""
    path, _, query = target.partition("?")
    if not path.startswith("/") and "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    if "%" in path:
        path = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    return path, query


class Handler(BaseHandler):
    """One request and its response."""

    # BaseHandler's.
    environ: _Environ
    headers: Any
    result: Any
    status: Any

    wsgi_file_wrapper = _FileWrapper
    headers_class = _OwnHeaders
    base_environ: _Environ = {
        "SCRIPT_NAME": "",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "Penstock",
        "wsgi.version": (1, 0),
        "wsgi.run_once": False,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.file_wrapper": _FileWrapper,
        # The server knows where a body ends, also without a length.
        "wsgi.input_terminated": True,
    }

    def __init__(
        self, request: tuple[Any, ...], piece: int = 65536, server: Pid | None = None
    ) -> None:
        self.channel: Any = request[0]
        self.request = request
        self.piece = piece
        self.server = server
        self.head: tuple[Any, Any] | None = None  # Decided, not sent yet.
        self.bodiless = False
        self.left: int | None = None  # Bytes until the announced length; None: none was announced.
        self.complete = False  # The client has or will get all of it.

    # The request

    def setup_environ(self) -> None:
        environ = self.environ = self.base_environ.copy()
        environ["wsgi.errors"] = self.get_stderr()
        environ["wsgi.input"] = self.get_stdin()
        self.add_cgi_vars()

    def add_cgi_vars(self) -> None:
        (_, _, length, method, target, protocol, scheme, peer, peer_port, name, port,
         headers) = self.request
        target = native(target)
        path, query = _split(target)
        environ = self.environ
        environ["REQUEST_METHOD"] = native(method)
        environ["REQUEST_URI"] = target
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["SERVER_PROTOCOL"] = protocol
        environ["SERVER_NAME"] = native(name)
        environ["SERVER_PORT"] = str(port)
        environ["REMOTE_ADDR"] = native(peer)
        environ["REMOTE_PORT"] = str(peer_port)
        environ["wsgi.url_scheme"] = scheme
        if length is not None:
            environ["CONTENT_LENGTH"] = str(length)
        _add_headers(environ, headers)

    def get_stdin(self) -> Any:
        body = self.request[1]
        if body is None:
            return io.BytesIO()
        return io.BytesIO(body) if type(body) is bytes else body

    def get_stderr(self) -> TextIO:
        return sys.stderr

    # The response

    def write(self, data: bytes) -> None:
        """As PEP 3333 says: an empty string does not send the headers yet."""
        if data or type(data) is not bytes or not self.status:
            super().write(data)

    def finish_response(self) -> None:
        if self.request[3] == "HEAD" and self.result is not None:
            self.result = _OnlyHead(self, self.result)
        super().finish_response()

    def send_headers(self) -> None:
        """Decides the headers; they are sent with the data that follows."""
        headers = self.headers
        if headers is None:
            raise AssertionError("start_response() was not called")
        status = self.status
        self.left = None
        self.bodiless = self.has_no_body()
        if not self.bodiless:
            self.cleanup_headers()
        pairs = headers.items()
        text = "".join([status, *[name + value for name, value in pairs]])
        if not text.isascii() or not text.isprintable():
            if _illegal(text):
                raise ValueError("a character in the status or a header that HTTP does not allow")
            status = status.encode("latin-1")
            pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
        if self.bodiless:
            self.left = 0
        elif (length := headers["Content-Length"]) is not None:
            if not (length.isascii() and length.isdigit()):
                raise ValueError(f"Content-Length is {length!r}")
            self.left = int(length)
        self.head = (status, pairs)
        self.headers_sent = True

    def has_no_body(self) -> bool:
        return self.request[3] == "HEAD" or self.status[:3] in ("204", "304")

    def _write(self, data: bytes) -> None:
        left = self.left
        if left is not None:
            if len(data) > left:
                if not self.bodiless:
                    print("penstock: more data than Content-Length says", file=self.get_stderr())
                data = data[:left]
            left = self.left = left - len(data)
        head, self.head = self.head, None
        if head is None and not data:
            return
        rest = b""
        if len(data) > self.piece:
            data, rest = data[:self.piece], data[self.piece:]
        complete = left == 0 and not rest
        self.send(data if head is None else (*head, data, complete))
        for start in range(0, len(rest), self.piece):
            self.send(rest[start:start + self.piece])
        if left == 0:
            self.finish(announced=complete and head is not None)

    def _flush(self) -> None:
        pass

    def finish_content(self) -> None:
        if not self.headers_sent:
            if self.headers is not None and not self.has_no_body():
                self.headers.setdefault("Content-Length", "0")
            self.send_headers()
        if self.head is not None:
            self._write(b"")
        if not self.complete:
            if self.left:
                raise ValueError(f"{self.left} bytes less than Content-Length says")
            self.finish(announced=False)

    def finish(self, announced: bool) -> None:
        """The client need not wait for what the application does after its last byte."""
        if not self.complete:
            self.complete = True
            if not announced:
                self.send(True)

    def send(self, message: object) -> None:
        """Waits while the client is slower. Raises ConnectionAbortedError when it is gone."""
        channel = self.channel
        if not isinstance(channel, Channel):
            channel = self.channel = Channel(channel)
        while True:
            try:
                channel.send(message, _PATIENCE)
                return
            except TimeoutError:
                if self.server is not None:
                    send(self.server, "sweep")
            except ChannelClosed:
                raise ConnectionAbortedError("the client is gone") from None

    def end(self) -> None:
        """After run(): lets Erlang know if there will be no more although there should."""
        if not self.complete:
            channel = self.channel
            (channel if isinstance(channel, Channel) else Channel(channel)).close()

    def log_exception(self, exc_info: Any) -> None:
        print(f"penstock: {self.request[3]} {native(self.request[4])[:200]!r}",
              file=self.get_stderr())
        super().log_exception(exc_info)


class _OnlyHead:
    """A response of which only the headers are wanted. The application may not know them before its
    first block, but what would come later is not asked for."""

    def __init__(self, handler: Handler, blocks: Iterable[bytes]) -> None:
        self.handler = handler
        self.blocks = blocks
        if hasattr(blocks, "close"):
            self.close = blocks.close

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            yield block
            if self.handler.complete:
                break
