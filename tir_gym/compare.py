"""When are two JSON values the same? Strict equality, and the named comparators that tools may declare instead.

| name | a predicted value equals the gold value when |
|---|---|
| `exact` | they are equal as JSON: `1 == 1.0`, `True != 1`, `"1" != 1`, `NaN` equals nothing |
| `folded` | both are text, equal but for case and surrounding or repeated white space |
| `number:TOLERANCE` | both are numbers and differ by at most TOLERANCE |
| `day` | both are dates or moments of the same calendar day |
| `set` | both are lists with the same elements, order and repeats aside |
| `subset` | both are lists, and every gold element, such as an id, is among the predicted ones |
| `text:RATIO` | both are text whose folded forms have at least that similarity (`rapidfuzz.fuzz.ratio`, 0 to 1) |
| `regex` | it is text that the gold value, a regular expression, matches whole |

Others are added by code, with `register_comparator`; a name in a task's data never makes anything be imported.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

from rapidfuzz import fuzz

from tir_gym.errors import UsageError

Comparator: TypeAlias = Callable[[Any, Any], bool]

_LONGEST_FUZZY = 20_000
"""Characters; above it `text` compares exactly, because likeness takes quadratic time."""

_LONGEST_MATCHED = 2000
"""Characters; a pattern is not tried on longer text, because some patterns take exponential time."""

_NUMBERS = frozenset({int, float})


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


def register_comparator(name: str, same: Comparator) -> None:
    """Give a comparator of one's own a name that tools and tasks can declare.

    Args:
        name: Without a colon, and not one of those there are.
        same: `same(predicted, gold)`; must not raise, whatever the agent sent.

    Raises:
        UsageError: The name is taken or has a colon.
    """
    if ":" in name or name in _PLAIN or name in _PARAMETRISED:
        raise UsageError(f"comparator name {name!r} is taken or has a colon; choose another")
    _PLAIN[name] = same
    comparator.cache_clear()


def token(value: Any) -> Any:
    """A hashable stand-in for a JSON value: tokens are equal exactly where `json_equal` says the values are.

    So comparing many values with many others is a matter of sets. NaN, and what is nested too deeply, equal nothing.
    """
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    try:
        made = _token(value)
        hash(made)
    except RecursionError:
        return object()
    return made


def _token(value: Any) -> Any:
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float):
        return value if value == value else object()
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return ("object", frozenset([(key, _token(item)) for key, item in value.items()]))
    if isinstance(value, (list, tuple)):
        return ("list", *map(_token, value))
    return object()


def _equal(a: Any, b: Any) -> bool:
    if type(a) is str or type(b) is str:
        return type(a) is type(b) and bool(a == b)
    if type(a) in _NUMBERS and type(b) in _NUMBERS:
        return bool(a == b)
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
    return isinstance(a, str) and isinstance(b, str) and (a == b or _fold(a) == _fold(b))


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _same_day(a: Any, b: Any) -> bool:
    return isinstance(a, str) and isinstance(b, str) and len(a) >= 10 and a[:10] == b[:10]


def _same_set(a: Any, b: Any) -> bool:
    return _as_sets(a, b, operator.eq)


def _includes(a: Any, b: Any) -> bool:
    return _as_sets(a, b, operator.ge)


def _as_sets(a: Any, b: Any, related: Callable[[set[Any], set[Any]], bool]) -> bool:
    if not isinstance(a, (list, tuple)) or not isinstance(b, (list, tuple)):
        return False
    try:
        return related(set(map(token, a)), set(map(token, b)))
    except RecursionError:  # tokens of deep values can be hashed and still be too deep to compare
        return False


def _matches(a: Any, b: Any) -> bool:
    if not isinstance(a, str) or not isinstance(b, str) or len(a) > _LONGEST_MATCHED:
        return False
    try:
        return re.fullmatch(b, a) is not None
    except re.error:  # a wrong pattern is the task's fault, and matches nothing
        return False


def _number(tolerance: float) -> Comparator:
    def close(a: Any, b: Any) -> bool:
        if isinstance(a, bool) or isinstance(b, bool):
            return False
        if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
            return False
        try:
            return bool(abs(a - b) <= tolerance)
        except OverflowError:  # an integer beyond the floats
            return False

    return close


def _text(ratio: float) -> Comparator:
    def similar(a: Any, b: Any) -> bool:
        if not isinstance(a, str) or not isinstance(b, str):
            return False
        if a == b:
            return True
        ours, gold = _fold(a), _fold(b)
        if ours == gold or max(len(ours), len(gold)) > _LONGEST_FUZZY:
            return ours == gold
        return fuzz.ratio(ours, gold) >= 100.0 * ratio

    return similar


_PLAIN: dict[str, Comparator] = {
    "exact": json_equal,
    "folded": _folded,
    "day": _same_day,
    "set": _same_set,
    "subset": _includes,
    "regex": _matches,
}
_PARAMETRISED: dict[str, Callable[[float], Comparator]] = {"number": _number, "text": _text}
