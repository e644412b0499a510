"""Runs compared task by task: who wins where, by how much, and which tasks nobody does."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tir_gym.metrics.intervals import Estimate, bootstrap_ratios

if TYPE_CHECKING:
    from tir_gym.metrics import Outcome

_CAUSES = 3


@dataclass(frozen=True)
class Cell:
    """What a run did on a task."""

    attempts: int
    successes: int
    mean_return: float

    @property
    def rate(self) -> float:
        return self.successes / self.attempts


@dataclass(frozen=True)
class TaskLine:
    """A task and what each run did on it."""

    task_id: str
    gold_calls: int
    tags: tuple[str, ...]
    cells: tuple[Cell | None, ...]
    """One per run; `None` where it has no episode that counts."""
    causes: tuple[str, ...]
    """How its failed episodes ended and which calls failed, the commonest first."""
    world: str = ""
    """Its environment, where runs of several are compared."""

    @property
    def name(self) -> str:
        return f"{self.world} {self.task_id}".lstrip()

    @property
    def played(self) -> list[Cell]:
        return [cell for cell in self.cells if cell is not None]

    @property
    def success(self) -> float:
        """Mean over the runs that played it."""
        return sum(cell.rate for cell in self.played) / len(self.played)

    @property
    def mean_return(self) -> float:
        return sum(cell.mean_return for cell in self.played) / len(self.played)

    @property
    def winners(self) -> tuple[int, ...]:
        """The runs that did best, by success and then by return; nobody where all did the same."""
        if len(self.played) < 2:
            return ()
        keys = [None if cell is None else (cell.rate, round(cell.mean_return, 9)) for cell in self.cells]
        known = [key for key in keys if key is not None]
        best = max(known)
        return () if all(key == best for key in known) else tuple(i for i, key in enumerate(keys) if key == best)


@dataclass(frozen=True)
class Pair:
    """One run against another, over the tasks that both played."""

    first: int
    second: int
    tasks: int
    better: int
    """Tasks on which the first has the higher success rate."""
    worse: int
    success: Estimate | None
    """Mean difference in success per task, first minus second; interval by resampling tasks. So for `mean_return`."""
    mean_return: Estimate | None

    @property
    def equal(self) -> int:
        return self.tasks - self.better - self.worse


def worlds(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The environment of each run where they have several, since a task of one is none of another's, whatever its id;
    else nothing."""
    ids = [str(_options(config).get("env_id") or config.get("env_id")) for config in configs]  # a served one has both
    return tuple(ids) if len(set(ids)) > 1 else ("",) * len(ids)


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What else than the agent runs differ in, by entry of their configs: one value per run."""
    every = [
        {name: config.get(name) for name in _ENTRIES}
        | {"options": {k: v for k, v in _options(config).items() if k not in _ENTRIES}}
        for config in configs
    ]
    return {
        name: tuple(each[name] for each in every)
        for name in (*_ENTRIES, "options")
        if any(each[name] != every[0][name] for each in every[1:])
    }


def task_lines(runs: Sequence[Sequence[Outcome]], worlds: Sequence[str] = ()) -> list[TaskLine]:
    """A line per task that some run has an episode of; infrastructure failures are left out.

    Args:
        runs: The episodes of each run.
        worlds: The environment of each, where they are several.
    """
    by_task: dict[tuple[str, str], list[list[Outcome]]] = defaultdict(lambda: [[] for _ in runs])
    for i, rows in enumerate(runs):
        for row in rows:
            if row.infra_error is None:
                by_task[worlds[i] if worlds else "", row.task_id][i].append(row)
    return [_line(*task, by_task[task]) for task in sorted(by_task, key=in_order)]


def in_order(task: tuple[str, str]) -> tuple[str, int, str]:
    """How environments and tasks follow each other: `test/9` before `test/10`."""
    return task[0], len(task[1]), task[1]


def against(lines: Sequence[TaskLine], first: int, second: int) -> Pair:
    """Compare two runs.

    Args:
        lines: All tasks.
        first: Index of a run.
        second: Index of the one to compare it with.
    """
    cells = [(line.cells[first], line.cells[second]) for line in lines]
    both = [(a, b) for a, b in cells if a is not None and b is not None]
    differences = np.array([(a.rate - b.rate, a.mean_return - b.mean_return) for a, b in both], dtype=np.float64)
    success = mean_return = None
    if both:
        low, high = bootstrap_ratios(differences, np.ones_like(differences))
        success, mean_return = (
            Estimate(value=float(mean), low=float(low[i]), high=float(high[i]), n=len(both))
            for i, mean in enumerate(differences.mean(axis=0))
        )
    return Pair(
        first=first,
        second=second,
        tasks=len(both),
        better=sum(a.rate > b.rate for a, b in both),
        worse=sum(a.rate < b.rate for a, b in both),
        success=success,
        mean_return=mean_return,
    )


def hardest(lines: Sequence[TaskLine], n: int) -> list[TaskLine]:
    """The tasks with the lowest success over all runs, then the lowest return; none that everybody always does."""
    failed = [line for line in lines if line.success < 1.0]
    return sorted(failed, key=lambda line: (line.success, line.mean_return, -line.gold_calls, line.name))[:n]


def divided(lines: Sequence[TaskLine], n: int) -> list[TaskLine]:
    """The tasks that divide the runs most: by spread of success, then of return; none on which all did the same."""

    def spread(line: TaskLine) -> tuple[float, float]:
        rates, returns = [cell.rate for cell in line.played], [cell.mean_return for cell in line.played]
        return max(rates) - min(rates), max(returns) - min(returns)

    return sorted((line for line in lines if line.winners), key=lambda line: (*(-s for s in spread(line)), line.name))[
        :n
    ]


_ENTRIES = ("env_id", "split", "tasks", "n", "k", "seed", "reward")


def _options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    options = config.get("env_kwargs")
    return options if isinstance(options, Mapping) else {}


def _line(world: str, task: str, played: Sequence[Sequence[Outcome]]) -> TaskLine:
    every = [row for rows in played for row in rows]
    failed = [row for row in every if not row.success]
    causes = Counter("answered, not done" if row.ending == "answer" else f"ended by {row.ending}" for row in failed)
    for row in failed:
        causes.update(row.errors)
    return TaskLine(
        task_id=task,
        gold_calls=min(row.gold_calls for row in every),
        tags=every[0].tags,
        cells=tuple(_cell(rows) for rows in played),
        causes=tuple(f"{cause} ({n})" for cause, n in sorted(causes.items(), key=lambda c: (-c[1], c[0]))[:_CAUSES]),
        world=world,
    )


def _cell(rows: Sequence[Outcome]) -> Cell | None:
    if not rows:
        return None
    mean = sum(row.return_ for row in rows) / len(rows)
    return Cell(len(rows), sum(bool(row.success) for row in rows), mean)
