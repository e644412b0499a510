"""The log of a training run as learning curves: one flat JSON object per step, in a file of the run's folder.

`tir-gym train` writes `metrics.jsonl` and `tir-gym train-ppo` `log.jsonl`; any other trainer may do likewise.

Read as it stands while the trainer still writes it: a last line that is not whole yet is left for the next time. What
a number means is read off its name; names that say nothing known are shown last.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tir_gym.cli.reporting.curves import Curve, Plot, Point

LOGS = ("metrics.jsonl", "log.jsonl")
"""Names of the file."""

_SAME = {"steps": "step", "mean_return": "return"}
"""Names that mean the same, so that runs of several trainers lie over each other."""

_DEPTH = 4
"""Folders below the one that was named in which a log is looked for."""
_MOST = 200
"""Logs that are found."""
_FOLDERS = 5000
"""Folders that are looked into, so that a store in somebody's home does not search all of it."""
_BINS = 60
"""Points of a curve; beyond that neighbouring steps are put together, and stand at the first of them."""

SECTIONS = (
    ("Success and return", r"(success)|(return)|rew"),
    ("Length", r"^(length)|_len|(turns)|calls|truncated"),
    ("Entropy, KL and clipping", r"(entropy)|(?:^|[^a-z])(kl)(?:$|[^a-z])|clip"),
    ("Time per phase", r"^(seconds|time)[_/]"),
    ("The rest", r""),
)
"""Title of each part of a page of curves, and what the names of its numbers look like; the first that fits.
What stands in brackets comes first, in their order."""


@dataclass(frozen=True)
class TrainingLog:
    """The log of a training run."""

    name: str
    """Its folder, as seen from where it was found."""
    path: Path
    rows: tuple[Mapping[str, float], ...]
    """By step, which each has as `step`; numbers that are none (NaN, infinities) are left out."""

    @property
    def last_step(self) -> int:
        return int(self.rows[-1]["step"]) if self.rows else 0


def find_logs(folders: Iterable[Path]) -> list[tuple[str, Path]]:
    """Name and place of the logs under some folders, by name; links and hidden folders are not followed."""
    found: dict[Path, str] = {}
    for top in folders:
        waiting, seen = deque([(top, 0)]), 0
        while waiting and len(found) < _MOST and seen < _FOLDERS:
            folder, depth = waiting.popleft()  # the nearest folders first
            seen += 1
            try:
                entries = sorted(folder.iterdir())
            except OSError:
                continue
            for entry in entries:
                if entry.name in LOGS and entry.is_file():
                    name = folder.relative_to(top).as_posix()
                    found.setdefault(entry.resolve(), top.name if name == "." else name)
                elif depth < _DEPTH and not entry.name.startswith(".") and not entry.is_symlink() and entry.is_dir():
                    waiting.append((entry, depth + 1))
    return sorted((name, path) for path, name in found.items())


def read_log(name: str, path: Path) -> TrainingLog:
    """Read a log; a run that was resumed may have a step twice, and the later line counts."""
    rows: dict[float, dict[str, float]] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                data = json.loads(line)
            except ValueError:
                continue
            numbers = _numbers(data) if isinstance(data, dict) else {}
            if "step" in numbers:
                rows[numbers["step"]] = numbers
    return TrainingLog(name, path, tuple(rows[step] for step in sorted(rows)))


def learning_curves(logs: Sequence[TrainingLog]) -> list[Plot]:
    """A plot for each number of the logs, by section, the runs over each other.

    Args:
        logs: One or more; their names are the curves' labels.
    """
    names = {name for log in logs for row in log.rows for name in row} - {"step"}
    steps = sorted({row["step"] for log in logs for row in log.rows})
    size = -(-len(steps) // _BINS) if steps else 1
    groups = [steps[start : start + size] for start in range(0, len(steps), size)]
    place_of = {step: i for i, group in enumerate(groups) for step in group}
    places = tuple(f"{group[0]:g}" for group in groups)
    return [
        Plot(
            name=f"learning-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}",
            title=name,
            x="step",
            y=name,
            of="steps",
            places=places,
            curves=tuple(_curve(log, name, place_of) for log in logs),
            share="success" in name and _is_share(logs, name),
        )
        for name in sorted(names, key=_order)
    ]


def section_of(name: str) -> str:
    """The title from `SECTIONS` under which a number is shown."""
    return next(title for title, pattern in SECTIONS if re.search(pattern, name.lower()))


def _order(name: str) -> tuple[int, int, bool, str]:
    """By section and, in it, by what is known best; a step's own rollouts before held-out tasks."""
    for place, (_, pattern) in enumerate(SECTIONS):
        found = re.search(pattern, name.lower())
        if found is not None:
            return place, found.lastindex or len(found.groups()) + 1, name.startswith("eval"), name
    raise AssertionError("the last section takes every name")


def _curve(log: TrainingLog, name: str, place_of: Mapping[float, int]) -> Curve:
    values: dict[int, list[float]] = {}
    for row in log.rows:
        if name in row:
            values.setdefault(place_of[row["step"]], []).append(row[name])
    return Curve(
        log.name,
        tuple(Point(x, sum(found) / len(found), None, None, len(found)) for x, found in sorted(values.items())),
    )


def _is_share(logs: Sequence[TrainingLog], name: str) -> bool:
    return all(0.0 <= row[name] <= 1.0 for log in logs for row in log.rows if name in row)


def _numbers(data: Mapping[str, object]) -> dict[str, float]:
    return {
        _SAME.get(name, name): float(value)
        for name, value in data.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }
