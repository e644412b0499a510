"""Curves of a report as numbers: success by the length of tasks, credit by turn. `svg.py` and `papers.py` draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from tir_gym.metrics.intervals import score_interval

if TYPE_CHECKING:
    from tir_gym.metrics import Outcome
    from tir_gym.store.run import TurnCredit

_LENGTHS = 10
"""Lengths of tasks that have a place of their own; more are put together."""
_TURNS = 30
"""Turns shown."""


@dataclass(frozen=True)
class Point:
    """A mean at a place of the x axis."""

    x: int
    """Index into the plot's places."""
    y: float
    low: float | None
    """95% interval, where there is one."""
    high: float | None
    n: int
    """What it is the mean of."""


@dataclass(frozen=True)
class Curve:
    """The points of a run."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Plot:
    """Curves over the same places."""

    name: str
    """Fit for a file name."""
    title: str
    x: str
    y: str
    of: str
    """What a point is the mean of: `tasks` or `episodes`."""
    places: tuple[str, ...]
    """Of the x axis, from left to right."""
    curves: tuple[Curve, ...]
    share: bool = False
    """Whether y is a share, in [0, 1]."""


def success_by_length(labels: Sequence[str], runs: Sequence[Sequence[Outcome]]) -> Plot:
    """Success rate by the number of gold calls, with Wilson's interval.

    The draws behind an interval are the tasks, because attempts at one task are not independent. A task that can be
    done in several ways counts by the shortest that was matched in any of the runs.

    Args:
        labels: Of the runs.
        runs: Their episodes; infrastructure failures are left out.
    """
    lengths: dict[str, int] = {}
    for rows in runs:
        for row in rows:
            if row.infra_error is None:
                lengths[row.task_id] = min(row.gold_calls, lengths.get(row.task_id, row.gold_calls))
    places, place_of = _places(sorted(set(lengths.values())))
    curves = []
    for label, rows in zip(labels, runs, strict=True):
        counted = [row for row in rows if row.infra_error is None]
        counted.sort(key=lambda row: place_of[lengths[row.task_id]])
        points = []
        for place, group in groupby(counted, key=lambda row: place_of[lengths[row.task_id]]):
            episodes = list(group)
            tasks = len({row.task_id for row in episodes})
            rate = sum(bool(row.success) for row in episodes) / len(episodes)
            points.append(Point(place, rate, *score_interval(rate, tasks), tasks))
        curves.append(Curve(label, tuple(points)))
    return Plot(
        name="success-by-length",
        title="Success by length of the task",
        x="gold calls",
        y="success",
        of="tasks",
        places=places,
        curves=tuple(curves),
        share=True,
    )


def credit_by_turn(labels: Sequence[str], runs: Sequence[Sequence[TurnCredit]]) -> tuple[Plot, Plot]:
    """Mean credit of each turn: as the steps paid it, and in hindsight.

    Args:
        labels: Of the runs.
        runs: The credit of their turns, first turn first.
    """
    turns = min(_TURNS, max((len(rows) for rows in runs), default=0))
    places = tuple(str(turn + 1) for turn in range(turns))
    online, hindsight = [], []
    for label, rows in zip(labels, runs, strict=True):
        shown = [row for row in rows if row.turn < turns]
        online.append(Curve(label, tuple(Point(row.turn, row.reward, None, None, row.episodes) for row in shown)))
        credited = [(row, row.hindsight) for row in shown if row.hindsight is not None]
        hindsight.append(
            Curve(label, tuple(Point(row.turn, credit, None, None, row.episodes) for row, credit in credited))
        )
    return (
        Plot("reward-by-turn", "Reward by turn", "turn", "mean reward", "episodes", places, tuple(online)),
        Plot(
            "hindsight-by-turn",
            "Credit in hindsight by turn",
            "turn",
            "mean credit",
            "episodes",
            places,
            tuple(hindsight),
        ),
    )


def _places(lengths: Sequence[int]) -> tuple[tuple[str, ...], Mapping[int, int]]:
    """Names of the places of lengths, and the place of each; the longest share places where there are many."""
    size = -(-len(lengths) // _LENGTHS) if lengths else 1
    groups = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    names = tuple(str(group[0]) if len(group) == 1 else f"{group[0]}–{group[-1]}" for group in groups)
    return names, {length: i for i, group in enumerate(groups) for length in group}
