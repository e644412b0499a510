"""One episode in figures: what statistics need of a trace, small enough to hold a million of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from tir_gym.records import Trace

RIGHT = 1.0 - 1e-9
"""Score from which a matched call counts as right: a full match, floating point aside."""


@dataclass(frozen=True)
class Outcome:
    """How an episode went."""

    task_id: str
    repeat: int
    success: bool | None
    """`None` after an infrastructure failure."""
    return_: float
    """Sum of the turns' rewards."""
    turns: int
    calls: int
    """Calls that could be read."""
    right_calls: int
    """Calls matched with a gold call at the full score of 1."""
    gold_calls: int
    malformed: int
    """Attempts at a call that could not be read."""
    errors: Mapping[str, int]
    """Calls that failed by `error_kind`, and `malformed` attempts."""
    ending: str | None
    infra_error: Mapping[str, Any] | None
    """`kind`, `tool` and `message` of an infrastructure failure; such an episode says nothing about the agent."""
    seconds: float
    """Wall clock, from reset to the end."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """What the agent counted, such as `prompt_tokens` and `completion_tokens`."""
    oracle_return: float | None = None
    """Return of the oracle on the same task under the same reward, where known."""
    tags: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The family's own figures."""

    @classmethod
    def of(
        cls,
        trace: Trace,
        *,
        repeat: int,
        seconds: float,
        usage: Mapping[str, float] | None = None,
        oracle_return: float | None = None,
        tags: Sequence[str] = (),
    ) -> Outcome:
        """Read an outcome off a trace; the arguments are what a trace does not hold."""
        errors = Counter(
            result.error_kind or "refused" for turn in trace.turns for result in turn.results if not result.ok
        )
        malformed = sum(len(turn.malformed) for turn in trace.turns)
        if malformed:
            errors["malformed"] += malformed
        return cls(
            task_id=trace.provenance.task_id,
            repeat=repeat,
            success=trace.success,
            return_=float(sum(turn.reward for turn in trace.turns)),
            turns=len(trace.turns),
            calls=sum(len(turn.calls) for turn in trace.turns),
            right_calls=sum(match.gold is not None and match.score >= RIGHT for match in trace.matches),
            gold_calls=trace.gold_calls,
            malformed=malformed,
            errors=dict(sorted(errors.items())),
            ending=trace.ending,
            infra_error=trace.infra_error,
            seconds=seconds,
            usage=dict(usage or {}),
            oracle_return=oracle_return,
            tags=tuple(tags),
            metrics=dict(trace.metrics),
        )

    @property
    def tokens(self) -> float | None:
        """Prompt and completion tokens together; `None` where the agent counts none."""
        counts = [self.usage[name] for name in ("prompt_tokens", "completion_tokens") if name in self.usage]
        return sum(counts) if counts else None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON data."""
        data = {each.name: getattr(self, each.name) for each in fields(Outcome)}
        copied = {name: dict(data[name]) for name in ("errors", "usage", "metrics")}
        return {**data, **copied, "tags": list(self.tags)}
