"""What was asked of a server: all that can be known of a state that cannot be seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from mcp_types import CallToolResult

from tir_gym.records import ToolCall


@dataclass(frozen=True)
class Sent:
    """A call that may have changed the server's state."""

    name: str
    arguments: Mapping[str, Any]
    refused: bool
    answer: str | None
    """Digest of the answer, by which a repetition is known to have gone the same way; empty where there is to be none,
    and `None` where no answer came."""


Log: TypeAlias = tuple[Sent, ...]


def sent(call: ToolCall, answer: CallToolResult | None, *, replayable: bool) -> Sent:
    """The entry for a call; no answer means that none came in time."""
    if answer is None:
        return Sent(call.name, call.arguments, False, None)
    told = digest(answer.model_dump(mode="json", by_alias=True, exclude={"meta"})) if replayable else ""
    return Sent(call.name, call.arguments, answer.is_error, told)


def changes(log: Log) -> dict[str, Any]:
    """The log in the form of a diff: a table `calls` with a new row for each call that was not refused."""
    rows = [
        {"tool": one.name, "arguments": dict(one.arguments), **({} if one.answer is not None else {"answered": False})}
        for one in log
        if not one.refused
    ]
    return {"calls": {str(i): {"before": None, "after": row} for i, row in enumerate(rows)}} if rows else {}


def state_changes(before: Any, after: Any) -> dict[str, Any]:
    """What differs between two states as a state tool tells them: an object of objects is tables of rows."""
    old, new = _tables(before), _tables(after)
    found = {}
    for table in sorted(old.keys() | new.keys()):
        was, is_ = old.get(table, {}), new.get(table, {})
        rows = {
            key: {"before": was.get(key), "after": is_.get(key)}
            for key in sorted(was.keys() | is_.keys())
            if digest(was.get(key)) != digest(is_.get(key))
        }
        if rows:
            found[table] = rows
    return found


def digest(value: Any) -> str:
    """Hex digest of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _tables(state: Any) -> dict[str, dict[str, Any]]:
    if isinstance(state, dict) and all(isinstance(rows, dict) for rows in state.values()):
        return state
    if isinstance(state, dict):
        return {"state": state}
    if isinstance(state, list):
        return {"state": {str(i): row for i, row in enumerate(state)}}
    return {"state": {"value": state}}
