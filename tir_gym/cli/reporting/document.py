"""A report as one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tir_gym.cli.figures import document_of
from tir_gym.cli.reporting.comparing import divided, hardest

if TYPE_CHECKING:
    from tir_gym.cli.reporting.comparing import Pair, TaskLine
    from tir_gym.cli.reporting.contents import Report
    from tir_gym.cli.reporting.examples import Example
    from tir_gym.metrics import Estimate

FORMAT = "tir-gym-report"
FORMAT_VERSION = 1


def document(report: Report) -> dict[str, Any]:
    """All of the report as JSON data. Runs are named by their place in `runs`."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "title": report.title,
        "runs": [
            {"name": run.name, "label": run.label, "status": run.status, "config": dict(run.config)}
            | document_of(run.summary)
            for run in report.runs
        ],
        "differing": {entry: list(values) for entry, values in report.differing.items()},
        "plots": [asdict(plot) for plot in report.plots],
        "training": list(report.training),
        "learning": [asdict(plot) for plot in report.learning],
        "pairs": [_pair(pair) for pair in report.pairs],
        "tasks": [_line(line) for line in report.lines],
        "hardest": [line.name for line in hardest(report.lines, len(report.lines))],
        "divided": [line.name for line in divided(report.lines, len(report.lines))],
        "examples": [_example(example) for example in report.examples],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    counts = {name: getattr(pair, name) for name in ("first", "second", "tasks", "better", "worse", "equal")}
    return counts | _estimate("success", pair.success) | _estimate("return", pair.mean_return)


def _estimate(name: str, estimate: Estimate | None) -> dict[str, Any]:
    if estimate is None:
        return {name: None, f"{name}_interval": None}
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}


def _line(line: TaskLine) -> dict[str, Any]:
    return {
        "task_id": line.task_id,
        "world": line.world,
        "gold_calls": line.gold_calls,
        "tags": list(line.tags),
        "success": line.success,
        "winners": list(line.winners),
        "causes": list(line.causes),
        "runs": [None if cell is None else asdict(cell) for cell in line.cells],
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "run": example.run,
        "task_id": example.row.task_id,
        "repeat": example.row.repeat,
        "success": example.trace.success,
        "return": example.row.return_,
        "ending": example.trace.ending,
        "infra_error": example.trace.infra_error,
        "checks": example.trace.checks,
        "messages": list(example.trace.messages),
        "gold": [asdict(gold) for gold in example.gold],
        "alternative": example.alternative,
        "turns": [asdict(turn) for turn in example.turns],
        "unexplained": example.unexplained,
    }
