"""Long JSON texts: read as `json.loads` reads them, up to bounds, and without holding up another thread."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.long_json import DEEPEST, MOST, TooManyValues, read_long

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_it_reads_what_the_standard_library_reads(value: Any, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    assert read_long(f" {text}\n") == value == json.loads(text)


@given(VALUES, st.data())
def test_it_refuses_what_the_standard_library_refuses(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + data.draw(st.text('[]{},:"\\0e-. nx', max_size=3)) + text[at + data.draw(st.integers(0, 2)) :]
    try:
        expected = json.loads(broken)
    except json.JSONDecodeError:
        with pytest.raises(json.JSONDecodeError):
            read_long(broken)
    else:
        assert read_long(broken) == expected


def test_the_same_odd_things_are_taken() -> None:
    for text in ('{"a": 1, "a": 2}', '"\\ud800"', "[Infinity, -Infinity]", "1e999"):
        assert read_long(text) == json.loads(text)
    assert str(read_long("NaN")) == "nan"


def test_bounds() -> None:
    assert len(read_long("[" + "1," * (MOST - 2) + "1]")) == MOST - 1
    with pytest.raises(TooManyValues, match=f"more than {MOST} values"):
        read_long("[" + "1," * (MOST - 1) + "1]")
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert read_long(deep) == json.loads(deep)
    with pytest.raises(RecursionError):
        read_long("[" + deep + "]")
    with pytest.raises(ValueError, match="digits"):
        read_long("9" * 5000)


def test_another_thread_goes_on_meanwhile() -> None:
    text, ended = "[" + "[]," * 90_000 + "1]", threading.Event()

    def read() -> None:
        read_long(text)
        ended.set()

    thread = threading.Thread(target=read)
    thread.start()
    turns = 0
    while not ended.wait(0.001):
        turns += 1
    thread.join()
    assert turns > 3
