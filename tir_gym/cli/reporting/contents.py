"""What stands in a report, as data: read off the store once, and written down by others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tir_gym.cli.reporting.comparing import Pair, TaskLine, against, differing, task_lines, worlds
from tir_gym.cli.reporting.curves import Plot, credit_by_turn, success_by_length
from tir_gym.cli.reporting.examples import Example, examples
from tir_gym.cli.reporting.learning import TrainingLog, learning_curves

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv
    from tir_gym.metrics import Summary
    from tir_gym.records import Trace
    from tir_gym.store import Run

_NAMED = 4
"""Runs that a title names one by one."""


@dataclass(frozen=True)
class ReportedRun:
    """A run of the report."""

    name: str
    label: str
    """What the report calls it: its agent, or its name where two of the runs have the same agent."""
    config: Mapping[str, Any]
    status: str
    summary: Summary


@dataclass(frozen=True)
class Report:
    """One or more runs, reported."""

    title: str
    runs: tuple[ReportedRun, ...]
    differing: Mapping[str, tuple[str, ...]]
    """What else than the agent the runs differ in, by entry of the config: one value per run."""
    plots: tuple[Plot, ...]
    lines: tuple[TaskLine, ...]
    """All tasks."""
    pairs: tuple[Pair, ...]
    """Every run against every later one that has a task of its."""
    examples: tuple[Example, ...]
    training: tuple[str, ...] = ()
    """Names of the training runs whose learning curves are reported, too."""
    learning: tuple[Plot, ...] = ()


def make_report(runs: Sequence[Run], make_env: Callable[[Trace], ToolEnv], logs: Sequence[TrainingLog] = ()) -> Report:
    """Report on runs.

    Args:
        runs: One or more, their store open.
        make_env: Makes the environment that an episode was played in.
        logs: Of the training runs that belong to them.
    """
    rows = [list(run.episodes()) for run in runs]
    labels = _labels(runs)
    reported = tuple(
        ReportedRun(run.name, label, run.config, run.status, run.summary())
        for run, label in zip(runs, labels, strict=True)
    )
    places = worlds([run.config for run in runs])
    lines = task_lines(rows, places)
    pairs = [against(lines, i, j) for i in range(len(runs)) for j in range(i + 1, len(runs))]
    return Report(
        title=_title(reported),
        runs=reported,
        differing=_differing(runs),
        plots=(success_by_length(labels, rows), *credit_by_turn(labels, [run.credit_by_turn() for run in runs])),
        lines=tuple(lines),
        pairs=tuple(pair for pair in pairs if pair.tasks),
        examples=tuple(examples(rows, make_env, places)),
        training=tuple(log.name for log in logs),
        learning=tuple(learning_curves(logs)),
    )


def _labels(runs: Sequence[Run]) -> list[str]:
    agents = [str(run.config.get("agent")) for run in runs]
    return agents if len(set(agents)) == len(agents) else [run.name for run in runs]


def _title(runs: Sequence[ReportedRun]) -> str:
    """What is compared, on what."""
    places = list(dict.fromkeys(str(run.config.get("env_id")) for run in runs))
    where = places[0] if len(places) == 1 else f"{len(places)} environments"
    labels = [run.label for run in runs]
    if len(labels) == 1:
        return f"{labels[0]} on {where}"
    if len(labels) == 2:
        return f"{labels[0]} against {labels[1]} on {where}"
    named = labels if len(labels) <= _NAMED else labels[: _NAMED - 1]
    others = "" if len(labels) <= _NAMED else f" and {len(labels) - len(named)} others"
    return f"{len(labels)} runs on {where}: {', '.join(named)}{others}"


def _differing(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    found = {}
    for entry, values in differing([run.config for run in runs]).items():
        if entry == "reward":
            values = tuple(value.get("name", value) if isinstance(value, dict) else value for value in values)
        found[entry] = tuple(value if isinstance(value, str) else json.dumps(value, sort_keys=True) for value in values)
    return found
