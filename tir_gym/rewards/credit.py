"""Paying each turn. Online: the growth of all terms since the last turn. Hindsight: the paper's turn rewards.

Online credit (DESIGN 5): with V_t the value of the best assignment of all calls up to turn t, turn t earns
V_t - V_(t-1). A later and better call may take a gold call over from an earlier one and earns only the difference, so
the credits sum to V_T whatever the path, and V_T never exceeds the number of gold calls. Prices telescope likewise.

Hindsight credit (MatchTIR eq 8 and section 3.2): a turn earns the mean over its calls of what each earned in the final
assignment, an unmatched call minus its price (lambda of eq 5); the turn of the final answer earns the outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.records import MatchedCall
from tir_gym.rewards.economy import EconomyTerm
from tir_gym.rewards.event import TurnEvent
from tir_gym.rewards.format import FormatTerm
from tir_gym.rewards.match import Match
from tir_gym.rewards.match_term import GoldSide, MatchSnapshot, MatchTerm
from tir_gym.rewards.process import ProcessTerm
from tir_gym.rewards.spec import RewardSpec


@dataclass(frozen=True)
class CreditSnapshot:
    """A picture of a `Credit`; costs a pointer per call made so far."""

    match: MatchSnapshot
    priced: tuple[Any, ...]
    paid: tuple[tuple[str, float], ...]


class Credit:
    """The reward of one episode, turn by turn.

    Args:
        spec: What is paid.
        sides: The gold trace and its alternatives; the one that the calls match best counts.
        teacher_forced: Whether a call can only be matched with gold calls of its own stage.
    """

    def __init__(self, spec: RewardSpec, sides: Sequence[GoldSide], *, teacher_forced: bool = False) -> None:
        self.spec = spec
        self._match = MatchTerm(spec, sides, teacher_forced=teacher_forced)
        self._priced = [kind(spec) for kind in (EconomyTerm, FormatTerm, ProcessTerm) if kind.is_priced(spec)]
        self._paid: dict[str, float] = {}

    @property
    def gold_calls(self) -> int:
        """Number of calls of the gold trace that is matched best."""
        return len(self._match.side.gold.calls)

    def turn(self, event: TurnEvent, *, last: bool = False, outcome: float | None = None) -> Match:
        """Pay a turn.

        Args:
            event: What was played.
            last: Whether the episode ends with it.
            outcome: In [0, 1] when it ends with a final answer, else `None`.
        """
        self._match.add(event)
        parts: dict[str, float] = {}
        pays = last or not self.spec.hindsight_only
        if pays:
            self._grow("match", self.spec.match * self._match.value, parts)
        for term in self._priced:
            if term.add(event) or last:
                for name, level in term.level(self._match):
                    if pays:
                        self._grow(name, level, parts)
        if outcome:
            parts["outcome"] = self.spec.outcome * outcome
        return Match(parts, self._match)

    def _grow(self, name: str, level: float, parts: dict[str, float]) -> None:
        """Pay by how much a part has grown since it was last paid."""
        growth = level - self._paid.get(name, 0.0)
        if growth:
            self._paid[name] = level
            parts[name] = growth

    def hindsight(self, turns: int, outcome: float | None) -> tuple[float, ...]:
        """The paper's turn rewards `[turns]`, once the episode has ended.

        Args:
            turns: Number of turns played.
            outcome: In [0, 1] if the last turn was a final answer, else `None`.
        """
        spec = self.spec
        scores: list[list[float]] = [[] for _ in range(turns)]
        by_call = self._match.earned()
        for number, (turn, _, error) in enumerate(self._match.calls):
            earned = by_call.get(number)
            price = spec.redundant if error is None else spec.failed
            scores[turn].append(-price if earned is None else spec.match * earned)
        rewards = [sum(turn) / len(turn) if turn else 0.0 for turn in scores]
        if outcome is not None and turns:
            rewards[-1] = spec.outcome * outcome
        return tuple(rewards)

    def matches(self) -> tuple[MatchedCall, ...]:
        """The assignment as it stands, one entry per call."""
        paid = {call: (gold, score) for call, gold, score in self._match.pairs}
        found, position, last = [], 0, -1
        for number, (turn, _, _) in enumerate(self._match.calls):
            position = position + 1 if turn == last else 0
            last = turn
            gold, score = paid.get(number, (None, 0.0))
            found.append(MatchedCall(turn=turn, call=position, gold=gold, score=score))
        return tuple(found)

    def snapshot(self) -> CreditSnapshot:
        return CreditSnapshot(
            self._match.snapshot(), tuple(term.snapshot() for term in self._priced), tuple(self._paid.items())
        )

    def restore(self, snapshot: CreditSnapshot) -> None:
        self._match.restore(snapshot.match)
        for term, picture in zip(self._priced, snapshot.priced, strict=True):
            term.restore(picture)
        self._paid = dict(snapshot.paid)
