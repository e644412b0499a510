"""The process term: matched calls that succeeded, and matched calls whose results were used later.

Only matched calls count, each once, so the term is bounded by the number of gold calls and cannot be farmed.
A result is used when one of its values (text of three characters or more, or a number that is not a small whole one)
stands in an argument of a later turn's call or in the words of a later turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tir_gym.compare import token
from tir_gym.rewards.event import TurnEvent
from tir_gym.rewards.match_term import MatchTerm
from tir_gym.rewards.spec import RewardSpec

_SHORTEST = 3
_SMALL = 10


class ProcessTerm:
    """Success and use of results.

    Args:
        spec: The weights.
    """

    def __init__(self, spec: RewardSpec) -> None:
        self._spec = spec
        self._ok: list[bool] = []
        self._values: list[frozenset[Any]] = []
        self._used: set[int] = set()

    @staticmethod
    def is_priced(spec: RewardSpec) -> bool:
        """Whether the spec gives the term any weight."""
        return bool(spec.succeeded or spec.used)

    def add(self, event: TurnEvent) -> bool:
        """Take in a turn; whether it can have changed the level."""
        if self._spec.used:
            said = {token(value) for call in event.calls for value in _telling(call.arguments)}
            for number, values in enumerate(self._values):
                if values & said or any(isinstance(value, str) and value in event.text for value in values):
                    self._used.add(number)
        for result in event.results:
            self._ok.append(result.ok)
            self._values.append(frozenset(map(token, _telling(result.content))) if self._spec.used else frozenset())
        return True

    def level(self, match: MatchTerm) -> Iterator[tuple[str, float]]:
        """The term's parts so far."""
        if self._spec.succeeded:
            yield "succeeded", self._spec.succeeded * sum(self._ok[call] for call, _, _ in match.pairs)
        if self._spec.used:
            yield "used", self._spec.used * sum(call in self._used for call, _, _ in match.pairs)

    def snapshot(self) -> tuple[tuple[bool, ...], tuple[frozenset[Any], ...], frozenset[int]]:
        return tuple(self._ok), tuple(self._values), frozenset(self._used)

    def restore(self, snapshot: tuple[tuple[bool, ...], tuple[frozenset[Any], ...], frozenset[int]]) -> None:
        self._ok, self._values, self._used = list(snapshot[0]), list(snapshot[1]), set(snapshot[2])


def _telling(value: Any) -> Iterator[Any]:
    """The values that are particular enough to show where they came from."""
    open_values = [value]
    while open_values:
        value = open_values.pop()
        if isinstance(value, dict):
            open_values.extend(value.values())
        elif isinstance(value, (list, tuple)):
            open_values.extend(value)
        elif isinstance(value, str):
            if len(value) >= _SHORTEST:
                yield value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            small = abs(value) <= _SMALL and (isinstance(value, int) or value.is_integer())
            if not small:
                yield value
