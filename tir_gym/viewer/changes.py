"""What each write changed in the world: the episode is played once more, and the sandbox asked after every turn, and
in forks of it after each of several writes of one turn.

Tools on plain data in this process are played without asking. Other sandboxes run what a model wrote, behind walls but
for seconds, so those are played when the reader says so. Nothing is played where the recorded environment cannot be
made here, or where a replayed turn comes out otherwise than recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import unified_diff
from itertools import islice
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import TirGymError
from tir_gym.records import ToolCall, Trace
from tir_gym.replay_trace import env_of
from tir_gym.sandbox import Sandbox
from tir_gym.sandboxes.state import StateSandbox
from tir_gym.viewer.episode import as_json, away, doubtful

_ROWS = 60
"""Changed records shown of one call."""
_WRITES = 20
"""Writes of one turn up to which they are told apart: for each, those before it are run once more."""
_LINES = 2000
"""Lines of a text up to which it is compared line by line."""


@dataclass(frozen=True)
class FieldChange:
    """A field of a record before and after, as JSON; `None` where it was or is absent."""

    name: str
    before: str | None
    after: str | None

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """For a text of several lines that changed: what was taken out (`-`), put in (`+`), and stands around it."""
        if self.before is None or self.after is None or "\n" not in self.before + self.after:
            return ()
        ours, theirs = self.before.split("\n"), self.after.split("\n")
        if max(len(ours), len(theirs)) > _LINES:
            return ()
        found = islice(unified_diff(ours, theirs, n=2, lineterm=""), 2, None)  # after the names of two files
        return tuple((line[:1].replace("@", "…"), "" if line.startswith("@") else line[1:]) for line in found)


@dataclass(frozen=True)
class RecordChange:
    """A record that a call made, changed or removed."""

    table: str
    key: str
    kind: str
    """`made`, `changed` or `removed`."""
    fields: tuple[FieldChange, ...]
    """Of a changed record those that differ; else all."""


@dataclass(frozen=True)
class CallChanges:
    """What a call changed."""

    call: int | None
    """Its position in its turn; `None` where it is not known which calls of the turn, or what else, did it."""
    records: tuple[RecordChange, ...]
    left_out: int
    """Changed records beyond those that are shown."""


@dataclass(frozen=True)
class Changes:
    """What an episode changed, write by write."""

    turns: Mapping[int, tuple[CallChanges, ...]]
    """By turn, as far as the episode could be played again, in the order of its calls; nothing for a turn that changed
    nothing."""
    reason: str
    """Why there is nothing, or no more."""
    asks: bool = False
    """Whether playing waits for the reader's word."""


def changes_of(trace: Trace, *, asked: bool = False) -> Changes:
    """Play an episode once more and see what its turns change.

    Args:
        trace: The episode.
        asked: Whether to play in a sandbox that runs what a model wrote, or with options that are `doubtful`.
    """
    if reason := away(trace):
        return Changes({}, reason)
    doubt = "" if asked else doubtful(trace)
    if doubt:
        return Changes({}, doubt, asks=True)
    try:
        env = env_of(trace)
        try:
            return _played(trace, env, asked)
        finally:
            env.close()
    except (TirGymError, ValueError) as error:
        return Changes({}, str(error))
    except Exception as error:  # a trace is data from strangers
        return Changes({}, f"{type(error).__name__}: {error}")


def _played(trace: Trace, env: ToolEnv, asked: bool) -> Changes:
    recorded = trace.provenance
    given = recorded.env_kwargs.get("task")
    whole_task = isinstance(given, dict) and given.get("id") == recorded.task_id
    env.reset(seed=recorded.seed, options=None if whole_task else {"task": recorded.task_id})
    if not asked and not isinstance(env.sandbox, StateSandbox):
        kind = type(env.sandbox).__name__
        return Changes({}, f"its tools run in a {kind}, where playing it again takes a while", asks=True)
    found: dict[int, tuple[CallChanges, ...]] = {}
    writing = {tool.name for tool in trace.tools if tool.effect != "read"}
    before: Mapping[str, Any] = env.sandbox.diff()
    for number, turn in enumerate(trace.turns):
        writes = [i for i, call in enumerate(turn.calls) if call.name in writing and turn.results[i].ok]
        apart = 1 <= len(writes) <= _WRITES
        states = [_state_after(env.sandbox, turn.calls[: i + 1]) for i in writes[:-1]] if apart else []
        observation, _, terminated, truncated, _ = env.step(turn.action)
        if observation != turn.observation:
            return Changes(found, f"turn {number + 1} comes out otherwise than it was recorded")
        after: Mapping[str, Any] = env.sandbox.diff()
        made = []
        for call, state in zip(writes if apart else [None], [*states, after], strict=True):
            records = _between(before, state)
            if records:
                made.append(CallChanges(call, tuple(records[:_ROWS]), max(0, len(records) - _ROWS)))
            before = state
        found[number] = tuple(made)
        if terminated or truncated:
            break
    return Changes(found, "" if len(found) == len(trace.turns) else "the episode ends earlier here than it did")


def _state_after(sandbox: Sandbox, calls: Sequence[ToolCall]) -> Mapping[str, Any]:
    """What has changed since the start once the first calls of a turn have run, in a fork of the sandbox."""
    with closing(sandbox.fork()) as twin:
        twin.run_turn(calls)
        return twin.diff()


def _between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[RecordChange]:
    """From what had changed since the start, before and after a call, to what the call changed."""
    records = []
    for table in sorted(before.keys() | after.keys()):
        was, now = before.get(table, {}), after.get(table, {})
        for key in sorted(was.keys() | now.keys()):
            old = was[key]["after"] if key in was else now[key]["before"]
            new = now[key]["after"] if key in now else was[key]["before"]
            if old != new:
                records.append(_record(table, key, old, new))
    return records


def _record(table: str, key: str, old: Any, new: Any) -> RecordChange:
    kind = "made" if old in (None, {}) else "removed" if new in (None, {}) else "changed"
    if not isinstance(old or {}, dict) or not isinstance(new or {}, dict):
        return RecordChange(table, key, kind, (FieldChange("", _text(old), _text(new)),))
    ours, theirs = old or {}, new or {}
    names = [*ours, *(name for name in theirs if name not in ours)]
    fields = [
        FieldChange(
            str(name),
            _text(ours[name]) if name in ours else None,
            _text(theirs[name]) if name in theirs else None,
        )
        for name in names
        if kind != "changed" or ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)
    ]
    return RecordChange(table, key, kind, tuple(fields))


_ABSENT = object()


def _text(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) and "\n" in value else as_json(value)
