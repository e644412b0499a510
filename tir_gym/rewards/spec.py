"""Everything that a reward depends on, as one record, and the presets by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from tir_gym.errors import UsageError
from tir_gym.matching.gold_index import Strictness
from tir_gym.records import Record


class RewardSpec(Record):
    """How an episode is paid: the weights and prices of the terms in this folder. All zero but `match` and `outcome`.

    Each turn earns the growth of the sum of all terms since the last turn, so an episode's return depends on its calls
    and not on how they were spread over turns. See `docs/rewards.md`.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    name: str = "custom"

    match: float = 1.0
    """Reward of a fully matched gold call."""
    matching: Literal["hard", "soft", "ordered"] = "hard"
    """How calls are assigned to gold calls. `soft` is not monotone, so it pays nothing before the last turn."""
    strictness: Strictness = "graded"
    """What a partly right call is worth, see `matching/similarity.py`."""
    fold_names: bool = False
    """Whether tool names are compared without regard to case."""
    failed_calls_match: bool = True
    """Whether a call that failed can be matched with a gold call that succeeds."""
    staged: bool = False
    """Whether a gold call pays only once all gold calls of earlier stages are fully matched; a stage is a level of the
    gold DAG. With hard matching and strict credit only."""
    epsilon: float = Field(default=0.1, gt=0)
    """Entropy of `soft` matching."""
    rescale: bool = False
    """Whether `soft` matching pays a perfect trace 1 a call instead of 1 in all."""

    outcome: float = 1.0
    """Reward of a task done, paid once, with the final answer."""
    outcome_by: Literal["success", "state", "answer_exact", "answer_f1"] = "success"
    """`success`: all declared checks hold. `state`: those of the state do. `answer_exact`, `answer_f1`: the answer's
    check holds, or the F1 of its words; for tasks that declare no such check, `success`."""

    redundant: float = Field(default=0.0, ge=0)
    """Price of a call that succeeds and matches nothing. With `failed`, the paper's lambda."""
    failed: float = Field(default=0.0, ge=0)
    """Price of a call that fails and matches nothing."""
    over_optimum: float = Field(default=0.0, ge=0)
    """Price of each call beyond the number of gold calls."""
    characters: float = Field(default=0.0, ge=0)
    """Price of 1,000 characters of words; an environment has no tokenizer, so they stand for tokens."""
    seconds: float = Field(default=0.0, ge=0)
    """Price of a wall-clock second. Opt-in: it makes rewards depend on the machine."""

    malformed: float = Field(default=0.0, ge=0)
    """Price of something that looks like a call and cannot be read."""
    invalid: float = Field(default=0.0, ge=0)
    """Price of a call of an unknown tool or with arguments that do not fit; comes on top of `failed`."""

    succeeded: float = Field(default=0.0, ge=0)
    """Reward of a matched call that succeeded."""
    used: float = Field(default=0.0, ge=0)
    """Reward of a matched call whose result stands in a later call or in the answer."""

    @model_validator(mode="after")
    def _soft_has_no_stages(self) -> RewardSpec:
        if self.staged and (self.matching, self.strictness) != ("hard", "strict"):
            raise ValueError(
                f"staged=True goes with matching='hard' and strictness='strict', not {self.matching!r} and "
                f"{self.strictness!r}: only there is the best assignment also the best stage by stage"
            )
        return self

    @property
    def hindsight_only(self) -> bool:
        """Whether nothing is paid before the last turn."""
        return self.matching == "soft" and self.match != 0.0

    def describe(self) -> str:
        """One line for cards and tables."""
        terms = []
        if self.match:
            soft = f" (epsilon {self.epsilon:g})" if self.matching == "soft" else ""
            staged = ", staged" if self.staged else ""
            terms.append(f"{self.match:g} x {self.matching} matching{soft}, {self.strictness} credit{staged}")
        if self.outcome:
            terms.append(f"{self.outcome:g} x outcome by {self.outcome_by}")
        terms += [f"+{value:g} per {what}" for what in ("succeeded", "used") if (value := getattr(self, what))]
        terms += [f"-{value:g} per {what}" for field, what in _PRICES.items() if (value := getattr(self, field))]
        return f"{self.name}: {'; '.join(terms) or 'nothing'}"


_PRICES = {
    "redundant": "redundant call",
    "failed": "failed call",
    "over_optimum": "call over the optimum",
    "malformed": "malformed call",
    "invalid": "invalid call",
    "characters": "1,000 characters",
    "seconds": "second",
}

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
    "paper-soft": RewardSpec(name="paper-soft", matching="soft", strictness="partial", outcome_by="answer_f1"),
    "outcome": RewardSpec(name="outcome", match=0.0),
    "progress": RewardSpec(
        name="progress",
        strictness="strict",
        staged=True,
        redundant=0.05,
        failed=0.05,
        malformed=0.05,
        failed_calls_match=False,
    ),
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
