"""Reading a call, however odd, into the parts that matching compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from tir_gym.records import GoldCall, ToolCall

Call: TypeAlias = ToolCall | GoldCall | Mapping[str, Any]
"""A record, or a dict with `name` and `arguments` (absent: none)."""

Token: TypeAlias = Any
"""A hashable stand-in for a JSON value: tokens are equal exactly where the values are."""


def call_parts(call: Any, fold_names: bool = False) -> tuple[str | None, dict[str, Any] | None]:
    """Name and arguments; `None` for a name that is no text and for arguments that are no object."""
    name: Any
    arguments: Any
    if isinstance(call, dict):  # before the records, because asking for a dict is quicker
        name, arguments = call.get("name"), call.get("arguments", {})
    elif isinstance(call, (ToolCall, GoldCall)):
        name, arguments = call.name, call.arguments
    else:
        return None, None
    if not isinstance(name, str):
        return None, None
    return name.casefold() if fold_names else name, arguments if isinstance(arguments, dict) else None


def token(value: Any) -> Token:
    """The token of a JSON value, so that equality of many values with many others is a set operation.

    Follows `compare.json_equal`: 1 and 1.0 have one token; True and 1, and "1" and 1, have not; NaN, and what is
    nested too deeply to read, equal nothing.
    """
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    try:
        return _token(value)
    except RecursionError:
        return object()


def _token(value: Any) -> Token:
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float):
        return value if value == value else object()
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return ("object", frozenset((key, _token(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return ("list", *map(_token, value))
    return object()
