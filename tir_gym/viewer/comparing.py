"""Runs against each other, task by task, from counts that the database makes: reports compare whole episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.cli.reporting.comparing import Cell, Pair, TaskLine, against, differing, divided, in_order, worlds
from tir_gym.viewer.lines import PAGE, RunLine
from tir_gym.viewer.reader import Reader

MOST = 8
"""Runs that can be compared at once."""


@dataclass(frozen=True)
class Comparison:
    """Two or more runs."""

    runs: tuple[RunLine, ...]
    lines: tuple[TaskLine, ...]
    """All tasks, those that divide the runs most first."""
    pairs: tuple[Pair, ...]
    """Every run against every later one that has a task of its."""
    differing: tuple[str, ...]
    """Entries of their configs, the agent aside, in which they differ."""

    @property
    def wins(self) -> tuple[int, ...]:
        """On how many tasks each run alone did best."""
        return tuple(sum(line.winners == (i,) for line in self.lines) for i in range(len(self.runs)))


@dataclass(frozen=True)
class Tasks:
    """A page of a list of tasks."""

    lines: Sequence[TaskLine]
    total: int
    page: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE))


def compare(reader: Reader, runs: Sequence[RunLine]) -> Comparison:
    """Compare runs over all tasks that one of them has an episode of that counts."""
    cells = [reader.task_cells(run.id) for run in runs]
    places = worlds([run.config for run in runs])
    names = sorted({(at, task) for at, each in zip(places, cells, strict=True) for task in each}, key=in_order)
    lines = [
        TaskLine(
            task_id=task,
            gold_calls=min(
                each[task][3] for at, each in zip(places, cells, strict=True) if at == place and task in each
            ),
            tags=(),
            cells=tuple(
                Cell(*each[task][:3]) if at == place and task in each else None
                for at, each in zip(places, cells, strict=True)
            ),
            causes=(),
            world=place,
        )
        for place, task in names
    ]
    first = divided(lines, len(lines))
    known = {line.name for line in first}
    pairs = [against(lines, i, j) for i in range(len(runs)) for j in range(i + 1, len(runs))]
    return Comparison(
        tuple(runs),
        (*first, *(line for line in lines if line.name not in known)),
        tuple(pair for pair in pairs if pair.tasks),
        tuple(differing([run.config for run in runs])),
    )


def page_of(comparison: Comparison, show: str, text: str, page: int) -> Tasks:
    """A page of the tasks.

    Args:
        comparison: The runs.
        show: `divided` for tasks on which they differ, `same`, the index of a run for the tasks that it wins alone, or
            nothing for all.
        text: Part of the task's id.
        page: From 1.
    """
    lines = [line for line in comparison.lines if text in line.name]
    if show == "divided":
        lines = [line for line in lines if line.winners]
    elif show == "same":
        lines = [line for line in lines if not line.winners]
    elif show.isascii() and show.isdigit():
        lines = [line for line in lines if line.winners == (int(show),)]
    page = min(max(1, page), max(1, -(-len(lines) // PAGE)))
    return Tasks(lines[(page - 1) * PAGE : page * PAGE], len(lines), page)
