"""The economy term: what waste costs. Counts of the whole episode so far, each at its price."""

from __future__ import annotations

from collections.abc import Iterator

from tir_gym.rewards.event import TurnEvent
from tir_gym.rewards.match_term import MatchTerm
from tir_gym.rewards.spec import RewardSpec


class EconomyTerm:
    """Redundant and failed calls, calls over the optimum, words and seconds.

    Args:
        spec: The prices.
    """

    def __init__(self, spec: RewardSpec) -> None:
        self._spec = spec
        self._failed = 0
        self._characters = 0
        self._seconds = 0.0

    @staticmethod
    def is_priced(spec: RewardSpec) -> bool:
        """Whether the spec gives the term any weight."""
        return bool(spec.redundant or spec.failed or spec.over_optimum or spec.characters or spec.seconds)

    def add(self, event: TurnEvent) -> bool:
        """Take in a turn; whether it can have changed the level."""
        for result in event.results:
            self._failed += result.error is not None
        self._characters += len(event.text)
        self._seconds += event.seconds
        return True

    def level(self, match: MatchTerm) -> Iterator[tuple[str, float]]:
        """The term's parts so far, those with a price."""
        spec = self._spec
        if spec.redundant or spec.failed:
            failed = self._failed
            if failed:  # a call that failed may still be matched, and then costs nothing
                failed -= sum([match.calls[call][2] is not None for call, _, _ in match.pairs])
            yield "redundant", -spec.redundant * (len(match.calls) - len(match.pairs) - failed)
            yield "failed", -spec.failed * failed
        if spec.over_optimum:
            yield "over_optimum", -spec.over_optimum * max(0, len(match.calls) - len(match.side.gold.calls))
        if spec.characters:
            yield "characters", -spec.characters * self._characters / 1000.0
        if spec.seconds:
            yield "seconds", -spec.seconds * self._seconds

    def snapshot(self) -> tuple[int, int, float]:
        return self._failed, self._characters, self._seconds

    def restore(self, snapshot: tuple[int, int, float]) -> None:
        self._failed, self._characters, self._seconds = snapshot
