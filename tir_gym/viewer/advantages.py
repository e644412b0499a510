"""The advantage of every turn of a group by an estimator of the reader's choice, as a trainer would get it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.advantages import ESTIMATORS, get_estimator, needs
from tir_gym.errors import UsageError
from tir_gym.records import Trace
from tir_gym.viewer.lines import Rollout

_UNKNOWN = {
    "values": "what a critic expected of each turn",
    "parents": "which rollouts were forked from which",
    "call_mask": "which tokens are calls",
}
"""What estimators ask for and a store does not hold."""

MISSING = {
    name: _UNKNOWN.get(wanted[0], wanted[0])
    for name in ESTIMATORS
    if (wanted := [need for need in needs(name) if need != "state_keys"])
}
"""Estimators that cannot be offered, each with what it wants."""

CHOICES = tuple(name for name in ESTIMATORS if name not in MISSING)
"""Estimators for which a stored group is enough."""

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


def advantages_of(
    group: Sequence[Rollout],
    trace_of: Callable[[int], Trace],
    estimator: str = "dual",
    credit: str = "hindsight",
) -> Advantages:
    """Estimate.

    Args:
        group: The rollouts of a task.
        trace_of: Reads the trace of an episode by its id, for an estimator that compares states.
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
    more: dict[str, Any] = {}
    try:
        if "state_keys" in needs(estimator):
            more["state_keys"] = [_states(trace_of(each.line.id)) for each in counted]
        found = get_estimator(estimator)(rewards, [0] * len(counted), **more)
    except UsageError as error:  # a trace that is none, or has other turns than the store's tables
        return Advantages(estimator, credit, {}, 0, str(error))
    by_turn = {
        (each.line.id, turn.turn): float(value)
        for each, values in zip(counted, found, strict=True)
        for turn, value in zip(each.turns, values, strict=True)
    }
    return Advantages(estimator, credit, by_turn, len(counted))


def _states(trace: Trace) -> list[str]:
    """What each turn answers, which a trainer takes for its state too; ids of calls, which agents make up, aside."""
    answered = [trace.messages, *(turn.observation for turn in trace.turns)][: len(trace.turns)]
    return [
        json.dumps([{k: v for k, v in message.items() if k != "tool_call_id"} for message in messages], sort_keys=True)
        for messages in answered
    ]
