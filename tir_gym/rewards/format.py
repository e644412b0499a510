"""The format term: what cannot be read as a call, and calls that fit no schema, at their price.

A price and never a reward: paying for well-formed calls would pay for making more of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tir_gym.rewards.event import TurnEvent
from tir_gym.rewards.match_term import MatchTerm
from tir_gym.rewards.spec import RewardSpec

_INVALID = ("unknown_tool", "invalid_arguments")


class FormatTerm:
    """Malformed and invalid calls.

    Args:
        spec: The prices.
    """

    def __init__(self, spec: RewardSpec) -> None:
        self._spec = spec
        self._malformed = 0
        self._invalid = 0

    @staticmethod
    def is_priced(spec: RewardSpec) -> bool:
        """Whether the spec gives the term any weight."""
        return bool(spec.malformed or spec.invalid)

    def add(self, event: TurnEvent) -> bool:
        """Take in a turn; whether it can have changed the level."""
        self._malformed += event.malformed
        if not self._spec.invalid:
            return event.malformed > 0
        self._invalid += sum(result.error_kind in _INVALID for result in event.results)
        return True

    def level(self, match: MatchTerm) -> Iterator[tuple[str, float]]:
        """The term's parts so far."""
        yield "malformed", -self._spec.malformed * self._malformed
        yield "invalid", -self._spec.invalid * self._invalid

    def snapshot(self) -> tuple[int, int]:
        return self._malformed, self._invalid

    def restore(self, snapshot: tuple[int, int]) -> None:
        self._malformed, self._invalid = snapshot
