"""Short JSON texts: read and written as `json` does it, whatever they hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tir_gym.short_json import read_short, writer

NUMBERS = st.integers(-(10**40), 10**40) | st.floats()
TEXTS = st.text(st.characters(codec=None))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, in the same order, to the last bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    return bool(a == b)


@given(VALUES, st.booleans())
@example("\ud800", False)
@example({"\udc00\ud800": "\ud83d"}, True)
def test_it_reads_what_the_standard_library_reads(value: Any, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii)
    assert same(read_short(text), json.loads(text))
    assert same(read_short(f" {text}\n"), json.loads(text))


@given(VALUES, st.data())
def test_what_the_standard_library_refuses_it_refuses_in_the_same_words(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + data.draw(st.text('[]{},:"\\0123e-+.NaIu \t\x0b', max_size=3)) + text[at + 1 :]
    agree(broken)


ODD = (
    *["", " ", "nul", "NaN", "-Infinity", "-NaN", "nan", "1.", "01", "-01", "+1", ".5", "1e", "1e400", "-0", "-0.0"],
    *["1" * 4300, "1" * 4301, "0." + "1" * 1000, "1" * 400 + ".0", "4.9e-324", "1.7976931348623159e308", "1_0", "0x1"],
    *['"\x00"', '"\x7f"', '"\t"', '"\\/"', '"\\x"', '"\\u12"', '"\\uD83D\\u0041"', '"\\ud83d\\ude00"', "'a'", '"a'],
    *["[1,]", "[1 2]", "[", '{"a":1,"a":2}', '{"a":1,}', "{1:2}", '{"a" 1}', "1 2", "\ufeff1", "\u00a01", "[1\x0b]"],
    *["[" * 150 + "]" * 150, "[" * 250 + "]" * 250, "[" * 100_000],
)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts(text: str) -> None:
    agree(text)


@given(VALUES, st.booleans(), st.sampled_from([(", ", ": "), (",", ":")]))
def test_it_writes_what_the_standard_library_writes(value: Any, ascii: bool, separators: tuple[str, str]) -> None:
    write = writer(ensure_ascii=ascii, separators=separators)
    assert write(value) == json.dumps(value, ensure_ascii=ascii, separators=separators)


def agree(text: str) -> None:
    """Read here as by `json.loads`, or refused with the same error."""
    expected, refusal = tried(json.loads, text)
    found, other = tried(read_short, text)
    assert (type(other), str(other)) == (type(refusal), str(refusal))
    assert same(found, expected)


def tried(read: Callable[[str], Any], text: str) -> tuple[Any, Exception | None]:
    try:
        return read(text), None
    except (ValueError, RecursionError) as error:
        return None, error
