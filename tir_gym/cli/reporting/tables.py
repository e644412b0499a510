"""The tables and sentences of a report as cells and words, the same for a page and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import count, fixed, number, percent
from tir_gym.cli.reporting import comparing

if TYPE_CHECKING:
    from tir_gym.cli.reporting.comparing import Cell, TaskLine
    from tir_gym.cli.reporting.contents import Report
    from tir_gym.cli.reporting.curves import Plot, Point
    from tir_gym.cli.reporting.examples import Example, GoldLine
    from tir_gym.metrics import Estimate

DIFFER = "These runs differ in more than their agent; what follows from that is not the agent's doing."
INTERVALS = "Intervals are 95%. Infrastructure failures are counted in no other figure."
PAIRS = "Success and return: mean difference per task, with its 95% interval."
NO_PAIRS = "No two of these runs have a task in common."
_TOP = 12
"""Tasks listed as the hardest, and as the most divided."""


@dataclass(frozen=True)
class Spread:
    """A cell: a figure and its 95% interval."""

    value: str
    interval: str

    def __str__(self) -> str:
        return f"{self.value} ({self.interval})" if self.interval else self.value


@dataclass(frozen=True)
class Table:
    """Heads and rows of cells."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    right: Sequence[int] = ()
    """Columns of numbers."""
    best: frozenset[tuple[int, int]] = frozenset()
    """Row and column of the cells that won."""


def about(report: Report) -> list[str]:
    """What was run, a sentence per run."""
    lines = []
    several = len({run.config.get("env_id") for run in report.runs}) > 1
    for run in report.runs:
        config, k = run.config, run.config.get("k")
        attempts = count(k, "attempt") if isinstance(k, int) else "attempts"
        named = run.name == run.label
        name = f"Run {run.name}: agent {config.get('agent', '-')}" if named else f"{run.label}: run {run.name}"
        where = f" on {config.get('env_id', '-')}" if several else ""
        unfinished = "" if run.status == "finished" else " It is not finished."
        tasks = f"{count(run.summary.tasks, 'task')} of the {config.get('split', '-')} split"
        lines.append(f"{name}{where}, seed {config.get('seed', '-')}, {tasks}, {attempts} each.{unfinished}")
    return lines


def differing(report: Report) -> Table:
    """What else than the agent the runs differ in."""
    rows = [(entry, *values) for entry, values in report.differing.items()]
    return Table(("", *(run.label for run in report.runs)), rows)


def runs(report: Report) -> Table:
    """A line per run."""
    k = min((run.summary.k for run in report.runs), default=1)
    heads = ("run", "success", "return", "of the oracle's", f"pass^{k}", "turns", "tokens", "seconds", "infra failures")
    rows = []
    for run in report.runs:
        figures = run.summary
        rows.append(
            (
                run.label,
                _spread(figures.success, percent),
                _spread(figures.mean_return, _two),
                percent(_value(figures.oracle_share)),
                percent(_value(figures.pass_hat_k.get(k))),
                fixed(figures.turns, 1),
                fixed(figures.tokens, 0),
                fixed(figures.seconds, 3),
                figures.infra_failures,
            )
        )
    return Table(heads, rows, right=range(1, len(heads)))


def pairs(report: Report) -> Table:
    """Every run against every later one that has a task of its."""
    heads = ("run", "against", "tasks", "better on", "worse on", "same on", "success", "return")
    rows = []
    for pair in report.pairs:
        counts = (pair.tasks, pair.better, pair.worse, pair.equal)
        gains = (
            _spread(pair.success, lambda value: f"{value:+.1%}"),
            _spread(pair.mean_return, lambda value: f"{value:+.2f}"),
        )
        rows.append((report.runs[pair.first].label, report.runs[pair.second].label, *counts, *gains))
    return Table(heads, rows, right=range(2, len(heads)))


def divided(report: Report) -> Table:
    """The tasks that divide the runs most."""
    return tasks(report, comparing.divided(report.lines, _TOP))


def hardest(report: Report) -> Table:
    """The tasks that are done least, and how attempts at them fail."""
    rows = []
    for line in comparing.hardest(report.lines, _TOP):
        done = f"{sum(cell.successes for cell in line.played)} of {sum(cell.attempts for cell in line.played)}"
        told = ", ".join(line.causes)
        rows.append((line.name, line.gold_calls, done, _two(line.mean_return), ", ".join(line.tags), told))
    return Table(("task", "gold calls", "done", "mean return", "tags", "how it fails"), rows, right=(1, 2, 3))


def tasks(report: Report, lines: Sequence[TaskLine]) -> Table:
    """What each run did on each task; the winner is marked."""
    rows, best = [], set()
    for r, line in enumerate(lines):
        rows.append((line.name, line.gold_calls, *(_cell(cell) for cell in line.cells)))
        best |= {(r, 2 + winner) for winner in line.winners}
    labels = [run.label for run in report.runs]
    right = range(1, 2 + len(labels))
    return Table(("task", "gold calls", *labels), rows, right=tuple(right), best=frozenset(best))


def plot(plot: Plot) -> Table:
    """The points of a plot, a line per place."""
    rows = []
    for x, place in enumerate(plot.places):
        found = [next((point for point in curve.points if point.x == x), None) for curve in plot.curves]
        rows.append((place, *(_point(point, share=plot.share) for point in found)))
    labels = [curve.label for curve in plot.curves]
    return Table((plot.x, *labels), rows, right=tuple(range(len(labels) + 1)))


def unexplained(example: Example) -> str:
    """Why the turns of an example say less than they could."""
    reason = example.unexplained.rstrip(".")
    return f"Why each turn was paid cannot be told in full here: {reason}. Shown is the final matching as recorded."


def gold_title(example: Example) -> str:
    """What stands above the gold calls."""
    return "Gold calls" if example.alternative == 0 else f"Gold calls, alternative {example.alternative}"


def paid(gold: GoldLine) -> str:
    """Who was paid for a gold call in the end."""
    if gold.turn is None:
        return "matched by no call"
    return f"matched by a call of turn {gold.turn + 1}, score {number(gold.score)}"


def ending(example: Example) -> str:
    """How an example ended."""
    checks = example.trace.checks.items()
    held = ", ".join(f"{name} {'holds' if right else 'fails'}" for name, right in checks) or "none"
    return f"Checks: {held}. Ending: {example.trace.ending}."


def _cell(cell: Cell | None) -> str:
    return "-" if cell is None else f"{cell.successes}/{cell.attempts}, {_two(cell.mean_return)}"


def _point(point: Point | None, *, share: bool) -> str:
    if point is None:
        return "-"
    value = percent(point.y) if share else number(point.y)
    return f"{value} (n={point.n})"


def _spread(estimate: Estimate | None, show: Callable[[float], str]) -> Spread:
    if estimate is None:
        return Spread("-", "")
    return Spread(show(estimate.value), f"{show(estimate.low)} to {show(estimate.high)}")


def _two(value: float) -> str:
    return fixed(value, 2)


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
