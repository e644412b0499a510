"""Rollouts that fork: several ways on from one moment of an episode, and the tree that they make for `advantages.tree`.

A turn in which the policy was surprised by its own words is one in which others could as well have been said. There the
episode forks, before the turn is played: each fork shares the turns so far and samples this one, and all later ones,
with randomness of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tir_gym.errors import UsageError
from tir_gym.rollout.trajectory import Trajectory


@dataclass(frozen=True)
class Branching:
    """When a rollout forks. What one rollout does depends on itself alone, so a tree is the same in any order of play.

    A sample grows at most (1 + width * turns) ** depth rollouts.
    """

    width: int = 1
    """Forks at each turn that is forked, beside the rollout itself."""
    turns: int = 1
    """Turns forked in one rollout, at most."""
    depth: int = 1
    """Generations: with 1, forks do not fork."""
    surprise: float = 0.5
    """Nats per token from which a turn is forked, see `surprise`; 0 forks the first turns there are."""

    def __post_init__(self) -> None:
        for name in ("width", "turns", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1, or no branching")
        if not self.surprise >= 0:
            raise ValueError(f"surprise={self.surprise}: nats per token, 0 or more")


def surprise(logprobs: Any) -> float:
    """Mean of -log p over the tokens of a turn, in nats: of tokens that were sampled, an estimate of the entropy.

    Args:
        logprobs: `[S]`, S >= 1.
    """
    return float(-np.mean(np.asarray(logprobs, dtype=np.float64)))


def tree_arguments(trajectories: Sequence[Trajectory]) -> dict[str, list[int]]:
    """`parents` and `forked_at` of `advantages.tree` for a batch of rollouts.

        tree([t.turn_rewards for t in batch], [t.group_id for t in batch], **tree_arguments(batch))

    Rewards are those that steps paid: in hindsight, rollouts are not paid alike for the turns that they share. One that
    broke stays in the batch, marked as `infra`, because its forks share its first turns.

    Args:
        trajectories: `[N]`, in the order of the batch, as a `Scheduler` gives them.

    Returns:
        `parents`: `[N]`, position of each one's parent, or -1. `forked_at`: `[N]`, how many turns they share.

    Raises:
        UsageError: The parent of one is not among them.
    """
    place = {(t.group_id, t.rollout): i for i, t in enumerate(trajectories)}
    parents = []
    for t in trajectories:
        if t.parent is not None and (t.group_id, t.parent) not in place:
            raise UsageError(
                f"rollout {t.rollout} of group {t.group_id} was forked from {t.parent}, which is not in the batch; "
                "keep rollouts that broke, marked as infra"
            )
        parents.append(-1 if t.parent is None else place[t.group_id, t.parent])
    return {"parents": parents, "forked_at": [t.forked_at for t in trajectories]}
