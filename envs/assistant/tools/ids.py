"""What the ids of new records look like, by the tool that makes them, and ids of that look for generated worlds."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from tir_gym.sandboxes.state import HashedIds, State, Table

_HEX_GROUPS: dict[str, tuple[int, ...]] = {
    "UserLogin": (8, 4, 4),
    "RegisterUser": (8, 4, 4),
    "AddAlarm": (4, 4),
    "CreateEvent": (8, 4),
    "SendEmail": (2, 4, 8),
    "SendMessage": (8, 8),
    "AddReminder": (2, 4),
}
"""Hex digits of each group of an id, groups joined by `-`."""


def lay_out(kind: str, draw: Callable[[int], int]) -> str:
    """An id of that kind.

    Args:
        kind: Name of the tool that makes it.
        draw: `draw(n)` gives a number in `[0, n)`; called once per group.
    """
    if kind == "SendVerificationCode":
        return f"{draw(10**6):06d}"
    return "-".join(f"{draw(16**width):0{width}x}" for width in _HEX_GROUPS[kind])


class AssistantIds:
    """Ids from the seed and the record's own content, laid out as each tool's ids are; see `HashedIds`.

    Args:
        seed: The task's seed.
    """

    def __init__(self, seed: int) -> None:
        self._hashed = HashedIds(seed, length=32)

    def new(self, issued: MutableMapping[str, int], kind: str, content: Any) -> str:
        rest = int(self._hashed.new(issued, kind, content), 16)

        def draw(n: int) -> int:
            nonlocal rest
            rest, value = divmod(rest, n)
            return value

        return lay_out(kind, draw)


def free_id(state: State, table: Table, kind: str, content: Any) -> str:
    """A new id under which the table holds nothing; short ids do collide once in a while."""
    while (id := state.new_id(kind, content)) in table:
        pass
    return id
