"""Long JSON texts read value by value, so that other threads go on meanwhile, and no further than a bound.

`json.loads` reads a text in one go and lets no other thread run until it is done: 4 MiB of brackets hold up a whole
process for half a second. What is read here holds others up for as long as its longest string takes, some milliseconds.
It takes longer itself, so short texts are not for it.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOST = 100_000
"""Values in one text. What an agent means to say has hundreds, be it ever so long."""
DEEPEST = 500
"""Lists and objects within one another."""


class TooManyValues(ValueError):
    """More than `MOST`."""


_space = re.compile(r"[ \t\n\r]*").match
_scalar = json.JSONDecoder().raw_decode


def read_long(text: str) -> Any:
    """What `json.loads` gives, but for texts that pass the bounds.

    Raises:
        json.JSONDecodeError: No JSON.
        TooManyValues: More than `MOST`.
        ValueError: A number with too many digits.
        RecursionError: Nested more deeply than `DEEPEST`.
    """
    outer: list[tuple[Any, str]] = []  # the containers that are open, and for objects the key whose value is next
    at = _skip(text, 0)
    for _ in range(MOST):
        value: Any
        opening = text[at : at + 1]
        if opening in ("[", "{") and len(outer) >= DEEPEST:
            raise RecursionError(f"nested more deeply than {DEEPEST}")
        if opening == "[":
            value, at = [], _skip(text, at + 1)
            if text[at : at + 1] != "]":
                outer.append((value, ""))
                continue
            at += 1
        elif opening == "{":
            value, at = {}, _skip(text, at + 1)
            if text[at : at + 1] != "}":
                key, at = _key(text, at)
                outer.append((value, key))
                continue
            at += 1
        else:
            value, at = _scalar(text, at)
        # A value is whole; so may be those around it.
        while True:
            at = _skip(text, at)
            if not outer:
                if at != len(text):
                    raise json.JSONDecodeError("Extra data", text, at)
                return value
            container, key = outer.pop()
            is_list = isinstance(container, list)
            if is_list:
                container.append(value)
            else:
                container[key] = value
            mark = text[at : at + 1]
            if mark == ",":
                at = _skip(text, at + 1)
                if not is_list:
                    key, at = _key(text, at)
                outer.append((container, key))
                break
            if mark != ("]" if is_list else "}"):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            value, at = container, at + 1
    raise TooManyValues(f"more than {MOST} values")


def _key(text: str, at: int) -> tuple[str, int]:
    """The key at that place, and where its value begins."""
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
    key, at = _scalar(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
    return key, _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    """Past white space."""
    found = _space(text, at)
    assert found is not None
    return found.end()
