"""When are two JSON values the same? Strict equality, and the named comparators that tools may declare instead.

| name | a predicted value equals the gold value when |
|---|---|
| `exact` | they are equal as JSON: `1 == 1.0`, `True != 1`, `"1" != 1`, `NaN` equals nothing |
| `folded` | both are text, equal but for case and surrounding or repeated white space |
| `number:TOLERANCE` | both are numbers and differ by at most TOLERANCE |
| `day` | both are dates or moments of the same calendar day |
| `set` | both are lists with the same elements, order and repeats aside |
| `text:RATIO` | both are text whose folded forms have at least that `difflib` similarity ratio |
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from tir_gym.errors import UsageError

Comparator: TypeAlias = Callable[[Any, Any], bool]

_LONGEST_FUZZY = 4000
"""Characters; above it `text` compares exactly, because difflib takes quadratic time."""


def json_equal(a: Any, b: Any) -> bool:
    """Equality of JSON values, strict about types. Never raises: what is nested too deeply is not equal."""
    try:
        return _equal(a, b)
    except RecursionError:
        return False


@lru_cache(maxsize=256)
def comparator(name: str) -> Comparator:
    """The comparator of that name.

    Raises:
        UsageError: No such comparator, or its number is missing.
    """
    base, _, parameter = name.partition(":")
    if base in _PLAIN and not parameter:
        return _PLAIN[base]
    if base in _PARAMETRISED:
        try:
            return _PARAMETRISED[base](float(parameter))
        except ValueError:
            raise UsageError(f"comparator {name!r}: {base} takes a number, such as {base}:0.9") from None
    raise UsageError(f"no comparator {name!r}; there are {', '.join([*_PLAIN, *(f'{p}:N' for p in _PARAMETRISED)])}")


def _equal(a: Any, b: Any) -> bool:
    if type(a) is str or type(b) is str:
        return type(a) is type(b) and bool(a == b)
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return bool(a == b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(value, b[key]) for key, value in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_equal, a, b))
    return False


def _folded(a: Any, b: Any) -> bool:
    return isinstance(a, str) and isinstance(b, str) and _fold(a) == _fold(b)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _same_day(a: Any, b: Any) -> bool:
    return isinstance(a, str) and isinstance(b, str) and len(a) >= 10 and a[:10] == b[:10]


def _same_set(a: Any, b: Any) -> bool:
    if not isinstance(a, (list, tuple)) or not isinstance(b, (list, tuple)):
        return False
    return all(any(json_equal(x, y) for y in b) for x in a) and all(any(json_equal(x, y) for x in a) for y in b)


def _number(tolerance: float) -> Comparator:
    def close(a: Any, b: Any) -> bool:
        if isinstance(a, bool) or isinstance(b, bool):
            return False
        return isinstance(a, (int, float)) and isinstance(b, (int, float)) and bool(abs(a - b) <= tolerance)

    return close


def _text(ratio: float) -> Comparator:
    def similar(a: Any, b: Any) -> bool:
        if not isinstance(a, str) or not isinstance(b, str):
            return False
        ours, gold = _fold(a), _fold(b)
        if ours == gold or max(len(ours), len(gold)) > _LONGEST_FUZZY:
            return ours == gold
        return difflib.SequenceMatcher(None, ours, gold, autojunk=False).ratio() >= ratio

    return similar


_PLAIN: dict[str, Comparator] = {"exact": json_equal, "folded": _folded, "day": _same_day, "set": _same_set}
_PARAMETRISED: dict[str, Callable[[float], Comparator]] = {"number": _number, "text": _text}
