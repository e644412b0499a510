"""Was the task done? Each declared check, evaluated on the end of an episode."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np

from tir_gym.answers import states
from tir_gym.compare import comparator, json_equal
from tir_gym.records import (
    AnswerCheck,
    AskedCheck,
    Check,
    FigureCheck,
    RefusedCheck,
    StateCheck,
    UnchangedCheck,
)


@dataclass(frozen=True)
class Ending:
    """What the checks look at."""

    changes: Mapping[str, Any]
    """The sandbox's diff: table -> key -> `before`, `after`."""
    answer: str | None
    """The final message; `None` when the episode ended without one."""
    refused: bool
    asked: frozenset[str]
    """Slots that the agent asked for and the user gave."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """The family's own figures."""


def check_name(check: Check) -> str:
    """A stable name for tables: `state`, `answer`, `asked:due_date`, `figure:recall`, ..."""
    if isinstance(check, FigureCheck):
        return f"figure:{check.figure}"
    return f"asked:{check.slot}" if isinstance(check, AskedCheck) else check.kind


def holds(check: Check, ending: Ending, gold_changes: Mapping[str, Any], named: Collection[str] = frozenset()) -> bool:
    """Whether the check holds.

    Args:
        check: As declared by the task.
        ending: The end of the episode.
        gold_changes: Diff that replaying the gold calls makes.
        named: See `same_changes`.
    """
    if isinstance(check, StateCheck):
        return same_changes(ending.changes, gold_changes, check.comparators, named)
    if isinstance(check, UnchangedCheck):
        return not ending.changes
    if isinstance(check, AskedCheck):
        return check.slot in ending.asked
    if isinstance(check, RefusedCheck):
        return ending.refused
    if isinstance(check, AnswerCheck):
        return ending.answer is not None and not ending.refused and states(ending.answer, check)
    if isinstance(check, FigureCheck):
        return ending.figures.get(check.figure, -math.inf) >= check.at_least
    assert_never(check)


def same_changes(
    ours: Mapping[str, Any],
    gold: Mapping[str, Any],
    comparators: Mapping[str, str] | None = None,
    named: Collection[str] = frozenset(),
) -> bool:
    """Whether two diffs from the same start lead to the same state, whatever ids new records were given.

    Changed and deleted records are compared by key, and so are new ones whose key was `named`. Other new records are
    matched one to one by content: their keys, and fields that repeat the key, do not count.

    Args:
        ours: table -> key -> `{"before": ..., "after": ...}`.
        gold: Likewise.
        comparators: Comparator names by `table.field`, the table being the first step of its path.
        named: Keys that were chosen and not generated, such as the user name of a new account.
    """
    return ours.keys() == gold.keys() and all(
        _same_rows(ours[table], gold[table], table.split("/", 1)[0], comparators or {}, named) for table in ours
    )


def _same_rows(
    ours: Mapping[str, Any],
    gold: Mapping[str, Any],
    table: str,
    rules: Mapping[str, str],
    named: Collection[str],
) -> bool:
    kept_ours = {key: row["after"] for key, row in ours.items() if row["before"] is not None or key in named}
    kept_gold = {key: row["after"] for key, row in gold.items() if row["before"] is not None or key in named}
    if kept_ours.keys() != kept_gold.keys():
        return False
    if not all(_same_record(kept_ours[key], kept_gold[key], table, rules) for key in kept_ours):
        return False
    new_ours = [_without_key(key, row["after"]) for key, row in ours.items() if key not in kept_ours]
    new_gold = [_without_key(key, row["after"]) for key, row in gold.items() if key not in kept_gold]
    if len(new_ours) != len(new_gold):
        return False
    if len(new_ours) <= 1:
        return all(map(lambda a, b: _same_record(a, b, table, rules), new_ours, new_gold))
    from scipy.optimize import linear_sum_assignment

    same = np.array([[_same_record(a, b, table, rules) for b in new_gold] for a in new_ours])
    rows, columns = linear_sum_assignment(same, maximize=True)
    return bool(same[rows, columns].all())


def _without_key(key: str, record: Any) -> Any:
    if not isinstance(record, Mapping):
        return record
    return {field: value for field, value in record.items() if value != key}


def _same_record(a: Any, b: Any, table: str, rules: Mapping[str, str]) -> bool:
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        return json_equal(a, b)
    return a.keys() == b.keys() and all(
        comparator(rules.get(f"{table}.{field}", "exact"))(value, b[field]) or (a[field] is None and b[field] is None)
        for field, value in a.items()
    )
