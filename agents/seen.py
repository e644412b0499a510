"""The values that a conversation has shown: leaves of tool results, and what stands out in text.

What a thoughtless agent can reach for: the random agent reuses them now and then, probes throw them at every tool.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from tir_gym.records import Message

Scalar: TypeAlias = str | int | float | bool

_STANDING_OUT = re.compile(
    r"""
      (?P<moment>\d{4}-\d\d-\d\d[ ]\d\d:\d\d:\d\d)
    | (?P<day>\d{4}-\d\d-\d\d)
    | (?P<time>\d\d:\d\d(?::\d\d)?)
    | (?P<phone>\d{3}-\d{3}-\d{4})
    | (?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
    | "(?P<quoted>[^"\n]+)"
    | (?P<number>-?\d+(?:\.\d+)?)
    | (?P<name>[A-Z]\w+(?:[ ][A-Z]\w+)*)
    """,
    re.VERBOSE | re.ASCII,
)


class SeenValues:
    """Values by the order in which they were first seen, each once."""

    def __init__(self) -> None:
        self._values: dict[tuple[type, Scalar], None] = {}

    def __iter__(self) -> Iterator[Scalar]:
        return (value for _, value in self._values)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, messages: Iterable[Message]) -> None:
        """Take in the values of messages; those of the system prompt, which tells no facts of the task, aside."""
        for message in messages:
            content = message.get("content")
            if message.get("role") != "system" and isinstance(content, str):
                for value in _values_of(content):
                    # Keyed by type, because 1 == True.
                    self._values.setdefault((type(value), value))


def _values_of(content: str) -> Iterator[Scalar]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        yield from _standing_out(content)
    else:
        yield from _leaves(data)


def _standing_out(text: str) -> Iterator[Scalar]:
    for match in _STANDING_OUT.finditer(text):
        value = match[match.lastgroup or 0]
        if match.lastgroup == "number":
            yield float(value) if "." in value else int(value)
        else:
            yield value


def _leaves(data: Any) -> Iterator[Scalar]:
    if isinstance(data, dict):
        for item in data.values():
            yield from _leaves(item)
    elif isinstance(data, list):
        for item in data:
            yield from _leaves(item)
    elif data is not None:
        yield data
