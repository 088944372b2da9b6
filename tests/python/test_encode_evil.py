# SPDX-License-Identifier: Apache-2.0
"""Objects that change what is being converted, while it is."""

from __future__ import annotations

import gc

import pytest
from erlang._native import _decode, _encode


class Evil:
    """Does something when its turn comes, as numpy objects may through tolist."""

    ndim = 0

    def __init__(self, action: object, result: object = 0) -> None:
        self.action = action
        self.result = result

    def tolist(self) -> object:
        self.action()  # type: ignore[operator]
        return self.result


def test_a_list_that_shrinks_is_an_error() -> None:
    values: list[object] = [1]
    values += [Evil(values.clear)] + ["x" * i for i in range(100)]
    with pytest.raises(RuntimeError, match="changed size"):
        _encode(values)


def test_a_list_that_grows_is_an_error() -> None:
    values: list[object] = []
    values += [Evil(lambda: values.extend(range(1000))), 1]
    with pytest.raises(RuntimeError, match="changed size"):
        _encode([values])


def test_a_list_whose_rest_is_replaced_is_read_as_it_then_is() -> None:
    values: list[object] = []

    def replace() -> None:
        values[1] = "new"
        gc.collect()

    values += [Evil(replace), object()]
    assert _decode(_encode(values)) == [0, "new"]


def test_a_list_that_loses_its_last_reference_survives_its_conversion() -> None:
    outer: list[object] = [None]
    outer[0] = [Evil(lambda: outer.__setitem__(0, None)), "tail", ["deeper"]]
    assert _decode(_encode(outer)) == [[0, "tail", ["deeper"]]]


def test_a_dict_is_converted_as_it_was_when_its_turn_came() -> None:
    values: dict[object, object] = {}

    def grow() -> None:
        for i in range(1000):
            values[i] = i

    values.update({"a": Evil(grow), "b": 2, "c": 3})
    assert _decode(_encode(values)) == {"a": 0, "b": 2, "c": 3}
    values = {"a": Evil(lambda: values.clear()), "b": 2, "c": ["x"]}
    assert _decode(_encode(values)) == {"a": 0, "b": 2, "c": ["x"]}


def test_a_bytearray_that_moves_is_an_ordinary_value() -> None:
    data = bytearray(b"abc")
    assert _decode(_encode([Evil(lambda: data.extend(b"x" * 10_000)), data])) == [
        0,
        b"abc" + b"x" * 10_000,
    ]


def test_tolist_that_never_ends_is_too_deep() -> None:
    again = Evil(lambda: None)
    again.result = again
    with pytest.raises(ValueError, match="nesting deeper"):
        _encode(again)
    again.result = [again]
    with pytest.raises(ValueError, match="nesting deeper"):
        _encode(again)


class Boom(BaseException):
    pass


def boom(*_: object) -> object:
    raise Boom


def test_what_user_code_raises_goes_through() -> None:
    with pytest.raises(Boom):
        _encode([Evil(boom)])

    class Lazy:
        __getattr__ = boom

    with pytest.raises(Boom):
        _encode({"k": Lazy()})


def test_an_object_that_pretends_to_have_every_attribute_is_asked_for_its_list() -> None:
    class Everything:
        def __getattr__(self, name: str) -> object:
            return lambda: [1]

    assert _decode(_encode(Everything())) == [1]


def test_hash_eq_str_and_index_of_subclasses_are_never_called() -> None:
    class Text(str):
        __str__ = __repr__ = __len__ = __eq__ = boom  # type: ignore

        def __hash__(self) -> int:
            return 1

    class Number(int):
        __int__ = __index__ = __abs__ = __str__ = __neg__ = __bool__ = boom  # type: ignore

    class Pair(tuple):  # type: ignore
        __iter__ = __len__ = __getitem__ = boom

    class Items(list):  # type: ignore
        __iter__ = __len__ = __getitem__ = boom

    class Table(dict):  # type: ignore
        __iter__ = __len__ = __getitem__ = keys = items = boom  # type: ignore

    value = [Text("a"), Number(-(2**80)), Pair((1,)), Items([2]), Table({Text("k"): 3})]
    assert _decode(_encode(value)) == ["a", -(2**80), (1,), [2], {"k": 3}]


def test_a_key_whose_repr_raises_is_reported_by_its_type() -> None:
    class Key(bytes):
        __repr__ = boom  # type: ignore

    with pytest.raises((ValueError, Boom)) as error:
        _encode({"a": 1, Key(b"a"): 2})
    assert error.type is ValueError and "Key" in str(error.value)


def test_a_collection_during_conversion_may_run_finalizers_that_convert() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            assert _decode(_encode([(1, {"k": [2.5]})])) == [(1, {"k": [2.5]})]

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Cycle()
            value = [({"a": [[i]]}, (i,)) for i in range(5)]
            assert _decode(_encode(value)) == value
    finally:
        gc.set_threshold(*threshold)
