"""An episode as rows: taken apart for every table, and its figures put together again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select

from tir_gym.episode import PlayedEpisode
from tir_gym.errors import UsageError
from tir_gym.metrics import Outcome
from tir_gym.records import Trace
from tir_gym.store import schema
from tir_gym.store.text import to_text, trace_to_text

Rows = dict[str, list[dict[str, Any]]]
"""Rows by table."""


def outcome_of(
    played: PlayedEpisode, *, repeat: int, oracle_return: float | None = None, tags: Sequence[str] = ()
) -> Outcome:
    """The figures of an episode.

    Raises:
        UsageError: It has not ended, or `repeat` is negative.
    """
    trace = played.trace
    if trace.ending is None:
        raise UsageError(f"the episode of task {trace.provenance.task_id} has not ended; play it to its end")
    if repeat < 0:
        raise UsageError(f"repeat={repeat}: count the attempts at a task from 0")
    return Outcome.of(
        trace, repeat=repeat, seconds=played.seconds, usage=played.usage, oracle_return=oracle_return, tags=tags
    )


def rows_of(played: PlayedEpisode, outcome: Outcome) -> Rows:
    """All rows of an episode, without its id and its run's."""
    trace = played.trace
    rows: Rows = {
        "episodes": [_figures(outcome)],
        "traces": [{"trace": trace_to_text(trace)}],
        "turns": [],
        "calls": [],
        "matches": [match.model_dump() for match in trace.matches],
        "rewards": [],
    }
    for number, turn in enumerate(trace.turns):
        row = {"turn": number, "text": turn.text, "malformed": len(turn.malformed), "reward": turn.reward}
        row["hindsight"] = _at(trace.turn_rewards, number)
        row["seconds"] = _at(played.turn_seconds, number)
        rows["turns"].append(row)
        rows["rewards"] += [{"turn": number, "term": term, "value": value} for term, value in turn.parts.items()]
    rows["calls"] = _calls(trace)
    return rows


def put_episode(connection: Connection, run_id: int, rows: Rows) -> None:
    """Insert an episode inside the caller's transaction; it takes the place of an infrastructure failure.

    Raises:
        UsageError: The run has that episode already.
    """
    (figures,) = rows["episodes"]
    episodes = schema.episodes.c
    place = {"run": run_id, "task": figures["task_id"], "attempt": figures["repeat"]}
    known = connection.execute(_KNOWN, place).first()
    if known is not None:
        if known.infra_kind is None:
            raise recorded_already(figures["task_id"], figures["repeat"])
        connection.execute(delete(schema.episodes).where(episodes.id == known.id))  # its parts go with it
    key = connection.execute(_INSERT["episodes"], {"run_id": run_id, **figures}).inserted_primary_key
    assert key is not None
    for name, parts in rows.items():
        if parts and name != "episodes":
            connection.execute(_INSERT[name], [{"episode_id": key[0], **part} for part in parts])


def recorded_already(task_id: str, repeat: int) -> UsageError:
    return UsageError(
        f"the episode of task {task_id}, repeat {repeat} is recorded already; does another process play this run?"
    )


def figures_from(row: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an `Outcome` from a row of `episodes`."""
    figures = {name: row[name] for name in _PLAIN}
    infra_error = row["infra_error"]
    return figures | {
        "return_": row["episode_return"],
        "errors": json.loads(row["errors"]),
        "usage": json.loads(row["usage"]),
        "tags": tuple(json.loads(row["tags"])),
        "metrics": json.loads(row["metrics"]),
        "infra_error": None if infra_error is None else json.loads(infra_error),
    }


# Built once: making statements costs more than running them.
_INSERT = {name: insert(table) for name, table in schema.metadata.tables.items()}
_KNOWN = select(schema.episodes.c.id, schema.episodes.c.infra_kind).where(
    schema.episodes.c.run_id == bindparam("run"),
    schema.episodes.c.task_id == bindparam("task"),
    schema.episodes.c.repeat == bindparam("attempt"),
)

_PLAIN = (
    "task_id",
    "repeat",
    "success",
    "turns",
    "calls",
    "right_calls",
    "gold_calls",
    "malformed",
    "ending",
    "oracle_return",
    "seconds",
)


def _figures(outcome: Outcome) -> dict[str, Any]:
    infra_error = outcome.infra_error
    return {name: getattr(outcome, name) for name in _PLAIN} | {
        "episode_return": outcome.return_,
        "errors": to_text(dict(outcome.errors)),
        "usage": to_text(dict(outcome.usage)),
        "tags": to_text(list(outcome.tags)),
        "metrics": to_text(dict(outcome.metrics)),
        "infra_kind": None if infra_error is None else str(infra_error.get("kind")),
        "infra_error": None if infra_error is None else to_text(dict(infra_error)),
    }


def _calls(trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "turn": number,
            "call": position,
            "name": call.name,
            "arguments": to_text(call.arguments),
            "error_kind": result.error_kind,
            "error": result.error,
        }
        for number, turn in enumerate(trace.turns)
        for position, (call, result) in enumerate(zip(turn.calls, turn.results, strict=True))
    ]


def _at(values: tuple[float, ...], position: int) -> float | None:
    return values[position] if position < len(values) else None
