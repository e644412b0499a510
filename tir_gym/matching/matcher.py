"""The matching of an episode as it goes: turns are added, and each is told what it earned.

`Matcher` is for anyone who has gold calls and a stream of predicted ones; environments score through `rewards.Credit`,
which adds prices, outcomes and the rules on failed calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tir_gym.matching.gold_index import GoldIndex, Rules, Strictness
from tir_gym.matching.incremental import AssignmentSnapshot, IncrementalAssignment
from tir_gym.matching.parts import Call


@dataclass(frozen=True)
class TurnCredit:
    """What a turn earned."""

    credit: float
    """V_t - V_(t-1)."""
    value: float
    """V_t: total of the best assignment of all calls so far, in [0, number of gold calls]."""
    pairs: tuple[tuple[int, int, float], ...]
    """`(predicted, gold, similarity)` of that assignment, predicted calls counted from the first turn."""
    trace: int
    """Which gold trace that is: 0 for `gold`, then the alternatives."""


class Matcher:
    """An optimal hard assignment, extended turn by turn; after every turn equal to solving from scratch.

    Args:
        gold: The gold calls; an entry may be a list of acceptable calls, of which the most similar counts.
        alternatives: Other gold traces that are just as right; the one with the greatest total counts.
        comparators: One mapping per gold call of `gold`; for alternatives, exact comparison.
        strictness: See `similarity`.
        fold_names: See `similarity`.
    """

    def __init__(
        self,
        gold: Sequence[Call | Sequence[Call]],
        *,
        alternatives: Sequence[Sequence[Call | Sequence[Call]]] = (),
        comparators: Sequence[Rules | None] | None = None,
        strictness: Strictness = "partial",
        fold_names: bool = False,
    ) -> None:
        self._indices = [
            GoldIndex(trace, rules, strictness=strictness, fold_names=fold_names)
            for trace, rules in [(gold, comparators), *((other, None) for other in alternatives)]
        ]
        self._assignments = [IncrementalAssignment(len(index)) for index in self._indices]
        self._value = 0.0

    def add(self, turn_calls: Sequence[Call]) -> TurnCredit:
        """Take in the calls of the next turn."""
        for call in turn_calls:
            for index, assignment in zip(self._indices, self._assignments, strict=True):
                assignment.add(index.row(call))
        values = [assignment.value for assignment in self._assignments]
        best = max(values)
        trace = values.index(best)
        credit, self._value = best - self._value, best
        return TurnCredit(credit, best, self._assignments[trace].pairs, trace)

    def snapshot(self) -> tuple[float, tuple[AssignmentSnapshot, ...]]:
        """A picture; costs one pointer per call."""
        return self._value, tuple(assignment.snapshot() for assignment in self._assignments)

    def restore(self, snapshot: tuple[float, tuple[AssignmentSnapshot, ...]]) -> None:
        self._value, pictures = snapshot
        for assignment, picture in zip(self._assignments, pictures, strict=True):
            assignment.restore(picture)

    def fork(self) -> Self:
        """An independent matcher in the same state; the gold side is shared."""
        twin = type(self)(())
        twin._indices = self._indices
        twin._assignments = [assignment.fork() for assignment in self._assignments]
        twin._value = self._value
        return twin
