# SPDX-License-Identifier: Apache-2.0
"""A buffer as a raw file of io, and as a wsgi.input."""

from __future__ import annotations

import io
import threading
from wsgiref.validate import InputWrapper

import pytest
import streams
from erlang import BufferAborted, PyBuffer

TEXT = "first line\nzweite Zeile: äöü\n\n" + "x" * 20_000 + "\nlast"
DATA = TEXT.encode()


def cut(piece: int, **options: int | bool) -> PyBuffer:
    pieces = [DATA[at : at + piece] for at in range(0, len(DATA), piece)]
    return streams.of(*pieces, **options)


@pytest.fixture(params=[7, 1000, len(DATA)])
def buffer(request: pytest.FixtureRequest) -> PyBuffer:
    return cut(request.param)


@pytest.fixture(params=[1, 10, 8192])
def size(request: pytest.FixtureRequest) -> int:
    return request.param


def buffered(buffer: PyBuffer, size: int = io.DEFAULT_BUFFER_SIZE) -> io.BufferedReader:
    return io.BufferedReader(buffer, size)  # type: ignore[arg-type]


def test_buffered_reader_reads(buffer: PyBuffer, size: int) -> None:
    reader, reference = buffered(buffer, size), io.BytesIO(DATA)
    for count in (1, 0, 5, 100, 3):
        assert reader.read(count) == reference.read(count)
    assert reader.readline() == reference.readline()
    assert reader.readline(4) == reference.readline(4)
    assert reader.peek(1)[:1] == reference.getvalue()[reference.tell() :][:1]
    assert reader.read() == reference.read()
    assert reader.read() == b""


def test_buffered_reader_iterates(buffer: PyBuffer, size: int) -> None:
    assert list(buffered(buffer, size)) == io.BytesIO(DATA).readlines()


def test_buffered_reader_seeks(buffer: PyBuffer) -> None:
    reader = buffered(buffer)
    assert reader.seekable() and reader.readable() and not reader.writable()
    reader.read(50)
    assert reader.tell() == 50
    assert reader.seek(0) == 0
    assert reader.read() == DATA
    assert reader.seek(-4, 2) == len(DATA) - 4
    assert reader.read() == b"last"


def test_buffered_reader_closes() -> None:
    buffer = cut(1000, closed=False)
    with buffered(buffer) as reader:
        assert reader.readline() == b"first line\n"
        assert not reader.closed
    assert reader.closed and buffer.closed
    assert streams.write(buffer, b"x") == "closed"


def test_buffered_reader_of_what_is_not_retained() -> None:
    reader = buffered(cut(1000, retains=False))
    assert not reader.seekable()
    assert reader.read() == DATA


def test_buffered_reader_passes_errors_on() -> None:
    buffer = streams.of(b"line\nrest", closed=False)
    streams.abort(buffer, "gone")
    reader = buffered(buffer)
    assert reader.readline() == b"line\n"
    with pytest.raises(BufferAborted):
        reader.read()


def test_text_iterates(buffer: PyBuffer) -> None:
    text = io.TextIOWrapper(buffered(buffer), "utf-8")
    assert list(text) == io.StringIO(TEXT).readlines()


def test_text_reads_and_seeks(buffer: PyBuffer) -> None:
    text = io.TextIOWrapper(buffered(buffer), "utf-8")
    assert text.readline() == "first line\n"
    place = text.tell()
    assert text.readline() == "zweite Zeile: äöü\n"
    text.seek(place)
    assert text.read(6) == "zweite"
    text.seek(0)
    assert text.read() == TEXT
    text.close()
    assert buffer.closed


def test_text_needs_no_buffered_reader(buffer: PyBuffer) -> None:
    assert io.TextIOWrapper(buffer, "utf-8").read() == TEXT  # type: ignore[arg-type]


def test_text_follows_a_writer() -> None:
    buffer = streams.new_stream()
    text = io.TextIOWrapper(buffered(buffer), "utf-8")
    writer = threading.Thread(
        target=lambda: (streams.feed(buffer, DATA, 3), streams.close(buffer)),
    )
    writer.start()
    assert list(text) == io.StringIO(TEXT).readlines()
    writer.join()


def test_buffered_random_access_is_refused() -> None:
    with pytest.raises(io.UnsupportedOperation):
        io.BufferedWriter(cut(10))  # type: ignore[arg-type]


# WSGI
# --------------------------------------------------------------------------------------------


def test_the_rules_of_wsgi_input(buffer: PyBuffer) -> None:
    wsgi = InputWrapper(buffer)  # type: ignore[arg-type]
    reference = io.BytesIO(DATA)
    assert wsgi.read(4) == reference.read(4)
    assert wsgi.readline() == reference.readline()
    assert wsgi.readline(3) == reference.readline(3)
    assert wsgi.readlines(1) == reference.readlines(1)
    assert list(wsgi) == reference.readlines()
    assert wsgi.read(10) == wsgi.readline() == b""
    assert wsgi.readlines() == []


def test_a_body_of_known_length_is_read_in_one_call() -> None:
    buffer = streams.new_stream(content_length=len(DATA))
    writer = threading.Thread(target=streams.feed, args=(buffer, DATA, 11))
    writer.start()
    assert buffer.read(len(DATA)) == DATA
    writer.join()
    assert buffer.read(0) == buffer.read(10) == buffer.readline() == b""
