# SPDX-License-Identifier: Apache-2.0
"""Output streams and the logging handler, without an Erlang: this end of their channel."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from erlang import Channel, _native, _output
from erlang.logging import Handler


@pytest.fixture
def connect(new_channel: Callable[..., Channel]) -> Iterator[Callable[..., Channel]]:
    """connect(max_size=0) -> the channel that output goes to from now on."""

    def open_channel(max_size: int = 0) -> Channel:
        _output.outlet.channel = new_channel(max_size)
        return _output.outlet.channel

    yield open_channel
    _output.outlet.channel = None


@pytest.fixture
def original() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def stream(original: io.StringIO) -> _output.OutputStream:
    return _output.OutputStream("<test>", "stdout", original)


def decoded(term: Any) -> Any:
    """With all bytes, which are UTF-8, as str."""
    if isinstance(term, tuple):
        return tuple(map(decoded, term))
    return term.decode() if isinstance(term, bytes) else term


def sent(channel: Channel) -> list[Any]:
    messages = []
    while (message := channel.try_receive()) is not None:
        messages.append(decoded(message))
    return messages


def text_of(channel: Channel) -> list[str]:
    return [text for _, _, _, text in sent(channel)]


def test_a_plain_python_is_left_alone() -> None:
    code = (
        "import logging, sys\n"
        "before = sys.stdout, sys.stderr, logging.getLogger().handlers[:]\n"
        "import erlang, erlang._output, erlang.logging\n"
        "assert before == (sys.stdout, sys.stderr, logging.getLogger().handlers)\n"
        "assert erlang._native._caller() is None\n"
        "assert erlang._native._output_channel() is None\n"
        "logging.getLogger().addHandler(erlang.logging.Handler())\n"
        "logging.warning('to %s', 'stderr')\n"
        "logging.getLogger().setLevel(logging.INFO)\n"
        "logging.info('not')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "WARNING:root:to stderr\n"


def test_lines_are_sent_when_they_end(
    stream: _output.OutputStream, connect: Callable[..., Channel]
) -> None:
    channel = connect()
    print("a", 1, file=stream)
    print("b", end="", file=stream)
    assert sent(channel) == [("text", "stdout", None, "a 1\n")]
    stream.write("c\nd\ne")
    assert text_of(channel) == ["bc\nd\n"]
    stream.flush()
    stream.flush()
    assert text_of(channel) == ["e"]


def test_a_line_that_does_not_end_is_not_kept_for_ever(
    stream: _output.OutputStream, connect: Callable[..., Channel]
) -> None:
    channel = connect()
    for _ in range(10_000):
        stream.write("xxxx")
    pieces = text_of(channel)
    assert all(len(piece) < 9000 for piece in pieces)
    assert len("".join(pieces)) > 30_000
    stream.flush()
    assert len("".join(pieces + text_of(channel))) == 40_000


def test_large_text_goes_in_pieces_that_fit(
    stream: _output.OutputStream, connect: Callable[..., Channel]
) -> None:
    channel = connect(1 << 20)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(text.decode() for *_, text in channel))
    reader.start()
    text = "😀" * 1_000_000
    print(text, file=stream)
    channel.close()
    reader.join()
    assert "".join(got) == text + "\n"


def test_each_thread_has_its_line(
    stream: _output.OutputStream, connect: Callable[..., Channel]
) -> None:
    channel = connect()
    stream.write("mine, ")
    other = threading.Thread(target=lambda: stream.write("theirs"))
    other.start()
    other.join()
    assert text_of(channel) == ["theirs"], "the end of the thread did not send its line"
    stream.write("still mine\n")
    assert text_of(channel) == ["mine, still mine\n"]


def test_a_closed_channel_leads_to_the_original(
    stream: _output.OutputStream, original: io.StringIO, connect: Callable[..., Channel]
) -> None:
    channel = connect()
    stream.write("begun")
    channel.close()
    print(", ended", file=stream)
    assert original.getvalue() == "begun, ended\n"
    # And back.
    channel = connect()
    print("again", file=stream)
    assert text_of(channel) == ["again\n"]


def test_a_writer_that_waits_goes_on_to_the_original(
    stream: _output.OutputStream, original: io.StringIO, connect: Callable[..., Channel]
) -> None:
    channel = connect(1000)
    line = "x" * 600 + "\n"
    stream.write(line)
    waiting = threading.Thread(target=stream.write, args=(line,))
    waiting.start()
    channel.close()
    waiting.join()
    assert original.getvalue() == line
    assert text_of_closed(channel) == [line]


def text_of_closed(channel: Channel) -> list[str]:
    return [text.decode() for *_, text in channel]


def test_an_original_that_fails_harms_nobody(connect: Callable[..., Channel]) -> None:
    closed = io.StringIO()
    closed.close()
    for original in (None, closed):
        stream = _output.OutputStream("<test>", "stdout", original)
        assert stream.write("x\n") == 2
    with pytest.raises(io.UnsupportedOperation):
        _output.OutputStream("<test>", "stdout", None).fileno()


def test_it_is_a_text_stream(stream: _output.OutputStream) -> None:
    assert isinstance(stream, io.TextIOBase)
    assert (stream.encoding, stream.errors, stream.isatty()) == (
        "utf-8", "backslashreplace", False,
    )
    with pytest.raises(io.UnsupportedOperation):
        stream.read()
    with pytest.raises(io.UnsupportedOperation):
        stream.detach()
    stream.close()
    assert not stream.closed
    assert stream.buffer.raw is stream.buffer  # type: ignore[attr-defined]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.Logger("test.output")
    logger.addHandler(Handler())
    yield logger


def test_a_record_is_one_message(logger: logging.Logger, connect: Callable[..., Channel]) -> None:
    channel = connect()
    logger.warning("%s and %d", "text", 2)
    ((tag, level, caller, text, where, created),) = sent(channel)
    assert (tag, level, caller, text) == ("log", 30, None, "text and 2")
    assert where[0] == __file__
    assert where[2:] == ("test.output", "test_output",
                         "test_a_record_is_one_message", "MainThread")
    assert created > 1.6e15


def test_a_record_that_waits_holds_no_lock(
    logger: logging.Logger, connect: Callable[..., Channel]
) -> None:
    (handler,) = logger.handlers
    channel = connect(2000)
    logger.warning("x" * 1500)
    waiting = threading.Thread(target=logger.warning, args=("y" * 1500,))
    waiting.start()
    for _ in range(1000):
        assert handler.lock is not None
        assert handler.lock.acquire(blocking=False)
        handler.lock.release()
    first, second = decoded(channel.receive()), decoded(channel.receive())
    waiting.join()
    assert (first[3][0], second[3][0]) == ("x", "y")


def test_a_filter_may_replace_the_record(
    logger: logging.Logger, connect: Callable[..., Channel]
) -> None:
    channel = connect()

    def replace(record: logging.LogRecord) -> Any:
        return logging.makeLogRecord({**record.__dict__, "msg": "replaced"})

    logger.handlers[0].addFilter(replace)
    logger.error("original")
    (message,) = sent(channel)
    assert message[3] == ("replaced" if sys.version_info >= (3, 12) else "original")


def test_a_reply_channel_has_no_limit() -> None:
    channel = Channel(_native._reply_channel())
    assert channel.info() == {"size": 0, "max_size": 0, "closed": False}
    with pytest.raises(TimeoutError):
        channel.receive(0)
