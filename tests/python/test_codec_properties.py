# SPDX-License-Identifier: Apache-2.0
"""decode(encode(x)) is x or a clear error; nothing crashes on any bytes."""

from __future__ import annotations

import math

import erlang
from conftest import EXAMPLES
from erlang._native import _decode, _encode
from hypothesis import given, settings
from hypothesis import strategies as st


plain_floats = st.floats(allow_nan=False, allow_infinity=False)
keys = st.recursive(
    st.none() | st.booleans() | st.integers() | plain_floats | st.text(),
    lambda inner: st.tuples(inner, inner),
    max_leaves=4,
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**10000), 2**10000)
    | plain_floats
    | st.text()
    | st.binary()
)
terms = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=15,
)


def same(left: object, right: object) -> bool:
    """Equal, and of the same types all the way down; 0.0 and -0.0 differ."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right) and left == right  # type: ignore
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))  # type: ignore
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))  # type: ignore[attr-defined]
    return left == right


@given(terms)
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_term_comes_back_as_it_was(term: object) -> None:
    assert same(_decode(_encode(term)), term)


anything = st.recursive(
    scalars
    | st.text(st.characters(), max_size=5)
    | st.floats()
    | st.sets(st.integers())
    | st.complex_numbers(),
    lambda inner: st.lists(inner)
    | st.dictionaries(keys | st.binary(max_size=2) | st.text(max_size=2), inner, max_size=6),
    max_leaves=12,
)


@given(anything)
@settings(max_examples=EXAMPLES, deadline=None)
def test_what_does_not_come_back_is_an_error_that_says_so(term: object) -> None:
    try:
        encoded = _encode(term)
    except (TypeError, ValueError) as error:
        assert str(error)
        return
    _decode(encoded)


@given(st.binary(max_size=200))
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    try:
        value = _decode(data)
    except (ValueError, TypeError, UnicodeDecodeError):
        return
    try:
        assert isinstance(_encode(value), bytes)
    except ValueError as error:
        assert "same Erlang term" in str(error)


TAGS = bytes(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 70, 97, 98, 104, 105, 106, 108, 109, 110, 111, 116, 118, 119]
)
plausible = st.lists(
    st.tuples(st.sampled_from(TAGS), st.binary(max_size=6)).map(
        lambda part: bytes([part[0]]) + part[1]
    ),
    max_size=20,
).map(b"".join)


@given(plausible)
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_sequence_of_heads_crashes_the_decoder(data: bytes) -> None:
    try:
        _decode(data)
    except (ValueError, TypeError):
        pass


@given(terms, st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_message_that_was_damaged_is_decoded_or_refused(
    term: object, data: st.DataObject
) -> None:
    encoded = bytearray(_encode(term))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(encoded) - 1))
        encoded[position] = data.draw(st.integers(0, 255))
    for damaged in (bytes(encoded), bytes(encoded[: len(encoded) // 2])):
        try:
            _decode(damaged)
        except (ValueError, TypeError):
            pass


@given(
    st.dictionaries(keys | st.binary(max_size=2) | st.text(max_size=2), st.integers(), max_size=8)
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_keys_collide_exactly_when_erlang_could_not_tell_them_apart(
    term: dict[object, int]
) -> None:
    def erlang_key(key: object) -> object:
        if isinstance(key, str):
            return ("binary", key.encode())
        if isinstance(key, bytes):
            return ("binary", key)
        if isinstance(key, tuple):
            return tuple(map(erlang_key, key))
        return (type(key), str(key))

    collide = len({erlang_key(key) for key in term}) < len(term)
    try:
        _encode(term)
    except ValueError as error:
        assert collide and "same Erlang term" in str(error)
    else:
        assert not collide


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=255))
def test_every_name_is_an_atom_and_reads_as_its_name(name: str) -> None:
    decoded = _decode(_encode(erlang.atom(name)))
    special = {"true": True, "false": False, "none": None, "nil": None, "undefined": None}
    assert decoded == special.get(name, name)
