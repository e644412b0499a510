"""Paying each turn. Online: the growth of the best assignment, less the price of waste. Hindsight: the paper's.

Online credit (DESIGN 5): with V_t the value of the maximum-weight assignment of all calls up to turn t, turn t earns
V_t - V_(t-1). A later and better call may take a gold call over from an earlier one and earns only the difference, so
the credits sum to V_T whatever the path, and V_T never exceeds the number of gold calls.

Hindsight credit (MatchTIR eq 8 and section 3.2): a turn earns the mean over its calls of their similarity in the final
assignment; the turn of the final answer earns the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tir_gym.gold import ReplayedGold
from tir_gym.matching.hard import hard
from tir_gym.matching.similarity import similarity
from tir_gym.records import MatchedCall, ToolCall, ToolResult
from tir_gym.rewards.match import Match
from tir_gym.rewards.spec import RewardSpec

_Matching: TypeAlias = tuple[float, tuple[tuple[int, int, float], ...]]
"""Value, and `(call, gold, similarity)` of each pair."""


@dataclass(frozen=True)
class GoldSide:
    """The gold side of the matching: one replayed trace, with its comparators."""

    gold: ReplayedGold
    comparators: tuple[Mapping[str, str], ...]
    """Comparators by argument name, one mapping per gold call."""


@dataclass(frozen=True)
class CreditSnapshot:
    """A picture of a `Credit`; costs one pointer per call made so far."""

    calls: tuple[tuple[int, ToolCall, str | None], ...]
    rows: tuple[tuple[tuple[float, ...], ...], ...]
    matchings: tuple[_Matching, ...]
    potential: tuple[tuple[str, float], ...]
    failed: int
    malformed: int


class Credit:
    """The reward of one episode, turn by turn.

    Args:
        spec: What is paid.
        sides: The gold trace and its alternatives; the one that the calls match best counts.
        teacher_forced: Whether a call can only match gold calls of its own stage (else: of its own or an earlier one).
    """

    def __init__(self, spec: RewardSpec, sides: Sequence[GoldSide], *, teacher_forced: bool = False) -> None:
        self.spec = spec
        self._sides = tuple(sides)
        self._teacher_forced = teacher_forced
        self._calls: list[tuple[int, ToolCall, str | None]] = []
        self._rows: tuple[list[tuple[float, ...]], ...] = tuple([] for _ in self._sides)
        self._matchings: list[_Matching] = [(0.0, ()) for _ in self._sides]
        self._failed = 0
        self._malformed = 0
        self._potential = {"match": 0.0, "redundant": 0.0, "failed": 0.0, "malformed": 0.0}

    def turn(
        self,
        turn: int,
        calls: Sequence[ToolCall],
        results: Sequence[ToolResult],
        *,
        malformed: int = 0,
        stage: int = 0,
        outcome: float | None = None,
    ) -> Match:
        """Pay a turn.

        Args:
            turn: Its index.
            calls: Its calls.
            results: One per call.
            malformed: Number of failed attempts at a call.
            stage: User turns delivered before it.
            outcome: In [0, 1] when the episode ends with this turn, else `None`.
        """
        for call, result in zip(calls, results, strict=True):
            self._calls.append((turn, call, result.error))
            self._failed += result.error is not None
            for n, side in enumerate(self._sides):
                self._rows[n].append(self._row(call, result, side, stage))
                self._matchings[n] = self._extend(self._rows[n], self._matchings[n])
        self._malformed += malformed
        before = self._potential
        self._potential = now = self._price()
        parts = {name: now[name] - before[name] for name in now if now[name] != before[name]}
        if outcome:
            parts["outcome"] = self.spec.outcome * outcome
        trace = self._best
        value, pairs = self._matchings[trace]
        side = self._sides[trace]
        return Match(
            sum(parts.values(), 0.0), parts, value, pairs, trace, self._calls, side.gold.calls, side.comparators
        )

    def hindsight(self, turns: int, outcome: float | None) -> tuple[float, ...]:
        """The paper's turn rewards `[turns]`, once the episode has ended.

        Args:
            turns: Number of turns played.
            outcome: In [0, 1] if the last turn was a final answer, else `None`.
        """
        scores: list[list[float]] = [[] for _ in range(turns)]
        paid = {call: score for call, _, score in self._matchings[self._best][1]}
        for i, (turn, _, _) in enumerate(self._calls):
            scores[turn].append(self.spec.match * paid.get(i, 0.0))
        rewards = [sum(turn) / len(turn) if turn else 0.0 for turn in scores]
        if outcome is not None and turns:
            rewards[-1] = self.spec.outcome * outcome
        return tuple(rewards)

    def matches(self) -> tuple[MatchedCall, ...]:
        """The assignment as it stands, one entry per call."""
        paid = {call: (gold, score) for call, gold, score in self._matchings[self._best][1]}
        found, position, last = [], 0, -1
        for i, (turn, _, _) in enumerate(self._calls):
            position = position + 1 if turn == last else 0
            last = turn
            gold, score = paid.get(i, (None, 0.0))
            found.append(MatchedCall(turn=turn, call=position, gold=gold, score=score))
        return tuple(found)

    def snapshot(self) -> CreditSnapshot:
        return CreditSnapshot(
            tuple(self._calls),
            tuple(tuple(rows) for rows in self._rows),
            tuple(self._matchings),
            tuple(self._potential.items()),
            self._failed,
            self._malformed,
        )

    def restore(self, snapshot: CreditSnapshot) -> None:
        self._calls = list(snapshot.calls)
        self._rows = tuple(list(rows) for rows in snapshot.rows)
        self._matchings = list(snapshot.matchings)
        self._potential = dict(snapshot.potential)
        self._failed = snapshot.failed
        self._malformed = snapshot.malformed

    def _row(self, call: ToolCall, result: ToolResult, side: GoldSide, stage: int) -> tuple[float, ...]:
        """The call's similarity with every gold call; 0 where it may not be matched."""
        row = []
        for gold, wanted, declared, rules in zip(
            side.gold.calls, side.gold.results, side.gold.trace.calls, side.comparators, strict=True
        ):
            eligible = call.name == gold.name and (result.ok or not wanted.ok or self.spec.failed_calls_match)
            if self._teacher_forced and declared.stage != stage:
                eligible = False
            strictness = self.spec.strictness
            row.append(similarity(call, gold, comparators=rules, strictness=strictness) if eligible else 0.0)
        return tuple(row)

    @staticmethod
    def _extend(rows: list[tuple[float, ...]], matching: _Matching) -> _Matching:
        """The best matching of all rows, given the best one of all but the last.

        One more row raises the optimum by at most the row's largest entry. So where a free gold call has that entry,
        the pair is taken and the result is optimal; only otherwise is the whole problem solved again.
        """
        value, pairs = matching
        last = rows[-1]
        most = max(last, default=0.0)
        if most <= 0.0:
            return matching
        taken = {gold for _, gold, _ in pairs}
        for gold, score in enumerate(last):
            if score == most and gold not in taken:
                return value + most, (*pairs, (len(rows) - 1, gold, most))
        live = [i for i, row in enumerate(rows) if any(row)]
        assignment = hard(np.array([rows[i] for i in live]))
        return assignment.total, tuple((live[i], j, rows[live[i]][j]) for i, j in assignment.pairs)

    @property
    def _best(self) -> int:
        """The gold trace that is matched best; the first of equals."""
        if len(self._matchings) == 1:
            return 0
        values = [value for value, _ in self._matchings]
        return values.index(max(values))

    def _price(self) -> dict[str, float]:
        spec = self.spec
        value, pairs = self._matchings[self._best]
        failed = self._failed - sum(self._calls[call][2] is not None for call, _, _ in pairs)
        redundant = len(self._calls) - len(pairs) - failed
        return {
            "match": spec.match * value,
            "redundant": -spec.redundant * redundant,
            "failed": -spec.failed * failed,
            "malformed": -spec.malformed * self._malformed,
        }
