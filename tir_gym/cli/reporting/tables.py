"""The tables and sentences of a report as cells and words, the same for a page and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import count, number, percent
from tir_gym.cli.reporting import comparing
from tir_gym.cli.walking import signed

if TYPE_CHECKING:
    from tir_gym.cli.reporting.comparing import Cell, TaskLine
    from tir_gym.cli.reporting.contents import Report
    from tir_gym.cli.reporting.curves import Plot, Point
    from tir_gym.cli.reporting.examples import Example, GoldLine
    from tir_gym.metrics import Estimate

DIFFER = "These runs differ in more than their agent; what follows from that is not the agent's doing."
_TOP = 12
"""Tasks listed as the hardest, and as the most divided."""


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
    for run in report.runs:
        config, k = run.config, run.config.get("k")
        attempts = count(k, "attempt") if isinstance(k, int) else "attempts"
        name = f"Run {run.name}" if run.name == run.label else f"{run.label}: run {run.name}"
        unfinished = "" if run.status == "finished" else " It is not finished."
        lines.append(
            f"{name}, seed {config.get('seed', '-')}, {run.summary.tasks} tasks of the {config.get('split', '-')} "
            f"split, {attempts} each.{unfinished}"
        )
    return lines


def differing(report: Report) -> Table:
    """What else than the agent the runs differ in."""
    rows = [(entry, *values) for entry, values in report.differing.items()]
    return Table(("", *(run.label for run in report.runs)), rows)


def runs(report: Report) -> Table:
    """A line per run."""
    k = min((run.summary.k for run in report.runs), default=1)
    estimates = ("run", "success", "95% interval", "return", "95% interval", "of the oracle's", f"pass^{k}")
    heads = (*estimates, "turns", "tokens", "seconds", "infra failures")
    rows = []
    for run in report.runs:
        figures = run.summary
        rows.append(
            (
                run.label,
                *_estimated(figures.success, percent),
                *_estimated(figures.mean_return, number),
                percent(_value(figures.oracle_share)),
                percent(_value(figures.pass_hat_k.get(k))),
                number(figures.turns, 1),
                number(figures.tokens, 0),
                number(figures.seconds, 3),
                figures.infra_failures,
            )
        )
    return Table(heads, rows, right=(1, 3, 5, 6, 7, 8, 9, 10))


def pairs(report: Report) -> Table:
    """Every run against every later one."""
    heads = ("run", "against", "tasks", "better on", "worse on", "same on", "success", "95% interval", "return")
    rows = []
    for pair in report.pairs:
        success, interval = _estimated(pair.success, lambda value: f"{value:+.1%}")
        mean, spread = _estimated(pair.mean_return, signed)
        counts = (pair.tasks, pair.better, pair.worse, pair.equal)
        rows.append(
            (report.runs[pair.first].label, report.runs[pair.second].label, *counts, success, interval, mean, spread)
        )
    return Table((*heads, "95% interval"), rows, right=(2, 3, 4, 5, 6, 8))


def divided(report: Report) -> Table:
    """The tasks that divide the runs most."""
    return tasks(report, comparing.divided(report.lines, _TOP))


def hardest(report: Report) -> Table:
    """The tasks that are done least, and how attempts at them fail."""
    rows = []
    for line in comparing.hardest(report.lines, _TOP):
        done = f"{sum(cell.successes for cell in line.played)} of {sum(cell.attempts for cell in line.played)}"
        told = ", ".join(line.causes)
        rows.append((line.task_id, line.gold_calls, done, number(line.mean_return), ", ".join(line.tags), told))
    return Table(("task", "gold calls", "done", "mean return", "tags", "how it fails"), rows, right=(1, 2, 3))


def tasks(report: Report, lines: Sequence[TaskLine]) -> Table:
    """What each run did on each task; the winner is marked."""
    rows, best = [], set()
    for r, line in enumerate(lines):
        rows.append((line.task_id, line.gold_calls, *(_cell(cell) for cell in line.cells)))
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
    return "-" if cell is None else f"{cell.successes}/{cell.attempts}, {number(cell.mean_return, 2)}"


def _point(point: Point | None, *, share: bool) -> str:
    if point is None:
        return "-"
    value = percent(point.y) if share else number(point.y)
    return f"{value} (n={point.n})"


def _estimated(estimate: Estimate | None, show: Any) -> tuple[str, str]:
    if estimate is None:
        return "-", "-"
    return show(estimate.value), f"{show(estimate.low)} to {show(estimate.high)}"


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
