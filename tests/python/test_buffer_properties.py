# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to a buffer, it gives the bytes that io.BytesIO gives."""

from __future__ import annotations

import io
from collections.abc import Callable

import streams
from conftest import EXAMPLES
from erlang import PyBuffer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Few letters, so that what is looked for occurs; long enough to cross pieces of all kinds.
pieces = st.lists(
    st.tuples(
        st.builds(
            lambda text, times: text * times,
            st.lists(st.sampled_from([b"a", b"b", b"\n", b"ab\n"]), max_size=12).map(b"".join),
            st.sampled_from([1, 1, 1, 3, 500]),
        ),
        st.booleans(),
    ),
    max_size=8,
)
sizes = st.one_of(st.none(), st.integers(-2, 20), st.integers(0, 10_000))
places = st.one_of(st.none(), st.integers(-40, 40), st.integers(-10_000, 10_000))
needles = st.one_of(
    st.integers(96, 99), st.lists(st.sampled_from("ab\n"), max_size=6).map("".join).map(str.encode)
)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.none()),
        st.tuples(
            st.sampled_from(
                ["read1", "read_nonblock", "readline", "read", "readlines", "readinto", "peek"]
            ),
            sizes,
        ),
        st.tuples(st.just("find"), st.tuples(needles, places, places)),
        st.tuples(st.just("seek"), st.tuples(places, st.integers(0, 2))),
        st.tuples(st.sampled_from(["view", "next", "len", "tell"]), st.none()),
    ),
    max_size=15,
)


class Pair:
    """A buffer, and all that it will ever hold in a BytesIO."""

    def __init__(self, parts: list[tuple[bytes, bool]], known: bool, retains: bool) -> None:
        self.parts = list(parts)
        self.data = b"".join(part for part, _ in parts)
        self.reference = io.BytesIO(self.data)
        self.there = 0
        self.known, self.retains = known, retains
        self.buffer = streams.new_stream(
            content_length=len(self.data) if known else -1, retains=retains
        )
        self.closed = False
        self.views: list[tuple[memoryview, bytes]] = []

    @property
    def complete(self) -> bool:
        return self.closed or (self.known and self.there == len(self.data))

    @property
    def unread(self) -> bytes:
        return self.data[self.reference.tell() : self.there]

    def write(self, _: None) -> None:
        if self.parts:
            part, by_reference = self.parts.pop(0)
            assert streams.write(self.buffer, part, by_reference=by_reference) == "ok"
            self.there += len(part)
        elif not self.closed:
            streams.close(self.buffer)
            self.closed = True

    def until(self, satisfied: Callable[[], bool]) -> None:
        """Writes what a blocking call would wait for."""
        while not satisfied() and not self.complete:
            self.write(None)

    def read1(self, size: int | None) -> None:
        self.until(lambda: size == 0 or self.unread != b"")
        self.expect(self.buffer.read1(size), size)

    def read_nonblock(self, size: int | None) -> None:
        self.expect(self.buffer.read_nonblock(size), size)

    def expect(self, result: bytes, size: int | None) -> None:
        """What is there, at most `size`."""
        limit = len(self.unread) if size is None or size < 0 else min(size, len(self.unread))
        assert result == self.reference.read(limit)

    def read(self, size: int | None) -> None:
        if self.known or size is None or size < 0:
            unlimited = size is None or size < 0
            self.until(lambda: not unlimited and len(self.unread) >= (size or 0))
            assert self.buffer.read(size) == self.reference.read(size)
        else:
            self.until(lambda: size == 0 or self.unread != b"")
            self.expect(self.buffer.read(size), size)

    def readinto(self, size: int | None) -> None:
        memory, count = bytearray(max(size or 0, 0)), max(size or 0, 0)
        self.until(lambda: len(self.unread) >= (count if self.known else min(count, 1)))
        result = self.buffer.readinto(memory)
        self.expect(bytes(memory[:result]), count)
        assert memory[result:] == bytes(len(memory) - result)

    def readline(self, size: int | None) -> None:
        limit = None if size is None or size < 0 else size
        self.until(
            lambda: b"\n" in self.unread[:limit]
            or (limit is not None and len(self.unread) >= limit)
        )
        assert self.buffer.readline(size) == self.reference.readline(-1 if size is None else size)

    def readlines(self, hint: int | None) -> None:
        self.until(lambda: bool(hint and hint > 0 and b"\n" in self.unread[hint - 1 :]))
        assert self.buffer.readlines(hint) == self.reference.readlines(-1 if hint is None else hint)

    def next(self, _: None) -> None:
        self.until(lambda: b"\n" in self.unread)
        assert next(self.buffer, b"") == next(self.reference, b"")

    def peek(self, size: int | None) -> None:
        limit = size if size is not None and size > 0 else 8192
        assert self.buffer.peek(size) == self.unread[:limit]

    def find(self, arguments: tuple[bytes | int, int | None, int | None]) -> None:
        assert self.buffer.find(*arguments) == self.unread.find(*arguments)

    def seek(self, arguments: tuple[int | None, int]) -> None:
        offset, whence = arguments[0] or 0, arguments[1]
        end = self.there if self.complete else len(self.data) if self.known else None
        origin = (0, self.reference.tell(), end)[whence]
        first = 0 if self.retains else self.reference.tell()
        possible = origin is not None and first <= origin + offset <= self.there
        try:
            assert self.buffer.seek(offset, whence) == self.reference.seek((origin or 0) + offset)
            assert possible
        except ValueError:
            assert not possible

    def view(self, _: None) -> None:
        self.views.append((memoryview(self.buffer), self.unread))

    def len(self, _: None) -> None:
        assert len(self.buffer) == self.buffer.readable_amount() == len(self.unread)
        assert self.buffer.at_eof() == (self.complete and not self.unread)

    def tell(self, _: None) -> None:
        assert self.buffer.tell() == self.reference.tell()


@settings(max_examples=5 * EXAMPLES, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(parts=pieces, known=st.booleans(), retains=st.booleans(), steps=operations)
def test_a_buffer_is_like_bytes_io(
    parts: list[tuple[bytes, bool]],
    known: bool,
    retains: bool,
    steps: list[tuple[str, object]],
) -> None:
    pair = Pair(parts, known, retains)
    for name, argument in steps:
        getattr(pair, name)(argument)
        pair.tell(None)
    pair.read(-1)
    for view, expected in pair.views:
        assert view == expected


@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(
    parts=pieces,
    how=st.sampled_from(list(streams.ENDS)),
    names=st.lists(st.sampled_from(["read", "readline", "readlines", "readall"]), max_size=6),
)
def test_what_ends_early_gives_whole_lines_and_loses_nothing(
    parts: list[tuple[bytes, bool]], how: str, names: list[str]
) -> None:
    data = b"".join(part for part, _ in parts)
    buffer = streams.new_stream(content_length=len(data) + 1)
    for part, by_reference in parts:
        streams.write(buffer, part, by_reference=by_reference)
    streams.ENDS[how](buffer)
    got = b""
    for name in names:
        try:
            result = getattr(buffer, name)()
        except OSError:
            assert name != "readline" or b"\n" not in data[len(got) :]
        else:
            assert name == "readline" and result.endswith(b"\n")
            got += result
        assert buffer.tell() == len(got)
    assert got + bytes(buffer) == data
