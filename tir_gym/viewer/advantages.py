"""The advantage of every turn of a group by an estimator of the reader's choice, as a trainer would get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.advantages import ESTIMATORS, get_estimator, needs
from tir_gym.errors import UsageError
from tir_gym.viewer.lines import Rollout

CHOICES = tuple(name for name in ESTIMATORS if not needs(name))
"""Estimators that need nothing but turn rewards and groups; the others want what a store does not hold."""

CREDITS = ("hindsight", "steps")
"""Which rewards they are given: in hindsight, as trainers read them, or as the steps paid them."""


@dataclass(frozen=True)
class Advantages:
    """Advantages of a group."""

    estimator: str
    credit: str
    by_turn: dict[tuple[int, int], float]
    """By id of the episode, and turn."""
    rollouts: int
    """How many the group has; infrastructure failures are left out."""
    reason: str = ""
    """Why there are none."""

    @property
    def largest(self) -> float:
        """The greatest size of one, at least a little."""
        return max((abs(value) for value in self.by_turn.values()), default=1.0) or 1.0

    def of(self, episode: int, turn: int) -> float | None:
        return self.by_turn.get((episode, turn))

    def shade(self, episode: int, turn: int) -> str:
        """A name for the colour of a turn: `up1` to `up4`, `down1` to `down4`, or nothing near 0."""
        value = self.of(episode, turn)
        if value is None or abs(value) < 0.02 * self.largest:
            return ""
        return f"{'up' if value > 0 else 'down'}{min(4, 1 + int(4 * abs(value) / self.largest * 0.999))}"


def advantages_of(group: Sequence[Rollout], estimator: str = "dual", credit: str = "hindsight") -> Advantages:
    """Estimate.

    Args:
        group: The rollouts of a task.
        estimator: One of `CHOICES`.
        credit: One of `CREDITS`.

    Raises:
        UsageError: No such estimator or credit.
    """
    if estimator not in CHOICES:
        raise UsageError(f"no estimator {estimator!r} here; choose one of {', '.join(CHOICES)}")
    if credit not in CREDITS:
        raise UsageError(f"no credit {credit!r}; choose {' or '.join(CREDITS)}")
    counted = [each for each in group if each.line.infra_kind is None and each.turns]
    rewards = [
        [(turn.hindsight or 0.0) if credit == "hindsight" else turn.reward for turn in each.turns] for each in counted
    ]
    if not counted:
        return Advantages(estimator, credit, {}, 0, "no rollout of this group counts")
    found = get_estimator(estimator)(rewards, [0] * len(counted))
    by_turn = {
        (each.line.id, turn.turn): float(value)
        for each, values in zip(counted, found, strict=True)
        for turn, value in zip(each.turns, values, strict=True)
    }
    return Advantages(estimator, credit, by_turn, len(counted))
