"""Everything that a reward depends on, as one record, and the presets by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from tir_gym.errors import UsageError
from tir_gym.matching.gold_index import Strictness
from tir_gym.records import Record


class RewardSpec(Record):
    """How an episode is paid. Per turn: the growth of

        match * V  -  redundant * R  -  failed * F  -  malformed * M

    where V is the value of the best assignment of all calls so far to gold calls, R, F and M count the calls so far
    that succeeded unmatched, failed unmatched, and could not be read. The final turn also gets `outcome` times the
    outcome. The terms telescope: an episode's return depends on its calls, not on how they were spread over turns.
    """

    name: str = "custom"
    strictness: Strictness = "graded"
    """What a partly right call is worth, see `matching/similarity.py`."""
    match: float = 1.0
    """Reward of a fully matched gold call."""
    outcome: float = 1.0
    """Reward of a task done, paid once, in the final turn."""
    outcome_by: Literal["success", "answer_f1"] = "success"
    """`success`: 1 if every declared check holds. `answer_f1`: word F1 of the answer, where the task declares one."""
    redundant: float = Field(default=0.0, ge=0)
    """Price of a call that succeeds and matches nothing."""
    failed: float = Field(default=0.0, ge=0)
    """Price of a call that fails and matches nothing."""
    malformed: float = Field(default=0.0, ge=0)
    """Price of something that looks like a call and cannot be read."""
    failed_calls_match: bool = True
    """Whether a call that failed can be matched with a gold call that succeeds."""

    def describe(self) -> str:
        """One line for cards and tables."""
        terms = [f"{self.match:g} x {self.strictness} matching" if self.match else "no matching"]
        terms += [f"{self.outcome:g} x {self.outcome_by}"] if self.outcome else []
        terms += [
            f"-{price:g} per {what} call"
            for what, price in (("redundant", self.redundant), ("failed", self.failed), ("malformed", self.malformed))
            if price
        ]
        return f"{self.name}: {', '.join(terms)}"


PRESETS: dict[str, RewardSpec] = {
    "default": RewardSpec(
        name="default",
        strictness="graded",
        redundant=0.05,
        failed=0.05,
        malformed=0.05,
        failed_calls_match=False,
    ),
    "paper-hard": RewardSpec(name="paper-hard", strictness="partial", outcome_by="answer_f1"),
    "outcome": RewardSpec(name="outcome", match=0.0),
}
PRESETS["paper"] = PRESETS["paper-hard"]


def get_reward(reward: str | Mapping[str, Any] | RewardSpec) -> RewardSpec:
    """A preset by name, or a spec given as a record or as its fields.

    Raises:
        UsageError: No such preset, or fields that make no spec.
    """
    if isinstance(reward, RewardSpec):
        return reward
    if isinstance(reward, str):
        if reward not in PRESETS:
            raise UsageError(f"no reward preset {reward!r}; choose one of {', '.join(PRESETS)}, or give a RewardSpec")
        return PRESETS[reward]
    try:
        return RewardSpec.model_validate(dict(reward))
    except ValidationError as error:
        raise UsageError(f"reward={dict(reward)!r} is no RewardSpec: {error}") from None
