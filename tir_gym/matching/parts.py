"""Reading a call, however odd, into the parts that matching compares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from tir_gym.records import GoldCall, ToolCall

Call: TypeAlias = ToolCall | GoldCall | Mapping[str, Any]
"""A record, or a dict with `name` and `arguments` (absent: none)."""


def call_parts(call: Any, fold_names: bool = False) -> tuple[str | None, dict[str, Any] | None]:
    """Name and arguments; `None` for both where the name is no text or the arguments are no object."""
    name: Any
    arguments: Any
    if isinstance(call, dict):  # before the records, because asking for a dict is quicker
        name, arguments = call.get("name"), call.get("arguments", _NO_ARGUMENTS)
    elif isinstance(call, (ToolCall, GoldCall)):
        name, arguments = call.name, call.arguments
    else:
        return None, None
    if isinstance(name, str) and isinstance(arguments, dict):
        return name.casefold() if fold_names else name, arguments
    return None, None


_NO_ARGUMENTS: dict[str, Any] = {}
