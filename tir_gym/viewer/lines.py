"""What lists are made of: a run, an episode, a rollout of a group, each in figures; and which of them are wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tir_gym.metrics import Estimate

PAGE = 50
"""Episodes of one page of a list."""

OUTCOMES = ("done", "failed", "infra")
"""What episodes can be filtered by."""

SORTS = ("task", "return", "turns", "calls", "malformed", "tokens", "seconds")
"""What episodes can be sorted by."""


@dataclass(frozen=True)
class RunLine:
    """A run in figures. Infrastructure failures stand in `infra_failures` and in nothing else."""

    id: int
    name: str
    status: str
    """`running` (or broken off) or `finished`."""
    config: Mapping[str, Any]
    created_at: str
    finished_at: str | None
    episodes: int = 0
    tasks: int = 0
    successes: int = 0
    success: Estimate | None = None
    mean_return: float | None = None
    k: int = 1
    pass_hat_k: float | None = None
    """That all of `k` attempts succeed."""
    turns: float | None = None
    tokens: float | None = None
    seconds: float | None = None
    infra_failures: int = 0

    @property
    def env_id(self) -> str:
        return str(self.config.get("env_id", "-"))

    @property
    def agent(self) -> str:
        return str(self.config.get("agent", "-"))

    @property
    def planned(self) -> int | None:
        """Episodes that the run will have, where its config says."""
        tasks, k = self.config.get("tasks"), self.config.get("k", 1)
        n = len(tasks) if isinstance(tasks, list) else self.config.get("n")
        return n * k if isinstance(n, int) and isinstance(k, int) else None


@dataclass(frozen=True)
class EpisodeLine:
    """An episode in a list."""

    id: int
    run_id: int
    task_id: str
    repeat: int
    success: bool | None
    episode_return: float
    turns: int
    calls: int
    right_calls: int
    gold_calls: int
    malformed: int
    ending: str | None
    infra_kind: str | None
    tokens: float | None
    seconds: float


@dataclass(frozen=True)
class Listing:
    """A page of a list of episodes."""

    lines: Sequence[EpisodeLine]
    total: int
    page: int
    """From 1."""

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE))


@dataclass(frozen=True)
class Wanted:
    """Which episodes a list shows, and in which order."""

    text: str = ""
    """Part of a task's id."""
    outcome: str = ""
    ending: str = ""
    sort: str = "task"
    down: bool = False
    page: int = 1


@dataclass(frozen=True)
class GroupTurn:
    """A turn of a rollout, beside those of others."""

    turn: int
    reward: float
    hindsight: float | None
    malformed: int
    text: str
    calls: Sequence[tuple[str, str | None]] = ()
    """Name and kind of error, `None` where it succeeded."""


@dataclass(frozen=True)
class Rollout:
    """An episode of a group."""

    line: EpisodeLine
    turns: Sequence[GroupTurn] = field(default=())
