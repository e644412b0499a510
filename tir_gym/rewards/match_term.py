"""The match term: the value of the best assignment of all calls so far to gold calls.

`hard` keeps the assignment optimal from call to call. `ordered` adds the gold DAG, and `soft` spreads each call over
all gold calls; both are solved afresh every turn. Where the gold offers several traces, that of greatest value counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tir_gym.compare import comparator
from tir_gym.gold import ReplayedGold
from tir_gym.matching import GoldIndex, IncrementalAssignment, ordered, soft
from tir_gym.matching.incremental import AssignmentSnapshot
from tir_gym.matching.ordered import LARGEST, is_limited
from tir_gym.records import ToolCall, ToolResult
from tir_gym.rewards.event import TurnEvent
from tir_gym.rewards.spec import RewardSpec

Pairs: TypeAlias = tuple[tuple[int, int, float], ...]
"""`(call, gold, similarity)` of each match, calls counted from the episode's start, by call."""

MadeCall: TypeAlias = tuple[int, ToolCall, str | None]
"""Turn, call, and the call's error."""


@dataclass(frozen=True)
class GoldSide:
    """The gold side of the matching: one replayed trace, with its comparators."""

    gold: ReplayedGold
    comparators: Mapping[str, Mapping[str, str]]
    """Comparators by argument name, by tool name."""
    results: Mapping[str, str] = field(default_factory=dict)
    """Comparators of results, by tool name, for tools by whose results calls are known (`ToolSpec.same_result`)."""
    _indices: dict[tuple[str, bool], GoldIndex] = field(default_factory=dict, repr=False, compare=False)

    def index(self, spec: RewardSpec) -> GoldIndex:
        """The gold calls as the spec compares them; made once."""
        key = (spec.strictness, spec.fold_names)
        if key not in self._indices:
            ways = [[call, *others] for call, others in zip(self.gold.calls, self.gold.others, strict=True)]
            self._indices[key] = GoldIndex(
                ways, self.comparators, strictness=spec.strictness, fold_names=spec.fold_names
            )
        return self._indices[key]

    @property
    def edges(self) -> list[tuple[int, int]]:
        """`(earlier, later)` of the gold DAG."""
        return [(i, j) for j, parents in enumerate(self.gold.after) for i in parents]


@dataclass(frozen=True)
class MatchSnapshot:
    calls: tuple[MadeCall, ...]
    rows: tuple[tuple[tuple[float, ...], ...], ...]
    assignments: tuple[AssignmentSnapshot, ...]


class MatchTerm:
    """The matching of one episode.

    Args:
        spec: Which matching.
        sides: The gold trace and its alternatives.
        teacher_forced: Whether a call can only be matched with gold calls of its own stage.
    """

    def __init__(self, spec: RewardSpec, sides: Sequence[GoldSide], *, teacher_forced: bool = False) -> None:
        self._spec = spec
        self._sides = tuple(sides)
        self._indices = [side.index(spec) for side in self._sides]
        self._teacher_forced = teacher_forced
        self.reading = (spec.strictness, spec.fold_names)
        """How a call is compared with a gold call: strictness, and whether case of names is folded."""
        self.calls: list[MadeCall] = []
        """All calls so far, in order."""
        self._rows: list[list[tuple[float, ...]]] = [[] for _ in self._sides]
        self._assignments = [IncrementalAssignment(len(side.gold.calls)) for side in self._sides]
        self._room = [self._room_left(n) for n in range(len(self._sides))]
        self._solve()

    def add(self, event: TurnEvent) -> None:
        """Take in a turn's calls."""
        changed = False
        hard = self._spec.matching == "hard"
        for call, result in zip(event.calls, event.results, strict=True):
            self.calls.append((event.turn, call, result.error))
            for n in range(len(self._sides)):
                row = self._row(call, result, n, event.stage)
                if self._room[n] is not None:
                    row = self._fitted(row, n)
                self._rows[n].append(tuple(row))
                moved = self._assignments[n].add(row)
                changed = changed or (moved if hard else any(row))
        # A call like no gold call changes no assignment; only a transport plan must make room for it.
        if changed or (event.calls and self._spec.matching == "soft"):
            self._solve()

    @property
    def side(self) -> GoldSide:
        """The gold trace that is matched best."""
        return self._sides[self.trace]

    def earned(self) -> dict[int, float]:
        """What each call earned in the end, by its number: its similarity in the assignment, or its row of the plan.
        A call that is matched with nothing is left out."""
        if self._spec.matching == "soft":
            plan = soft(self._matrix(self.trace), self._spec.epsilon, rescale=self._spec.rescale)
            return dict(enumerate(plan.rewards.tolist()))
        return {call: score for call, _, score in self.pairs}

    def snapshot(self) -> MatchSnapshot:
        return MatchSnapshot(
            tuple(self.calls),
            tuple(tuple(rows) for rows in self._rows),
            tuple(assignment.snapshot() for assignment in self._assignments),
        )

    def restore(self, snapshot: MatchSnapshot) -> None:
        self.calls = list(snapshot.calls)
        self._rows = [list(rows) for rows in snapshot.rows]
        for assignment, picture in zip(self._assignments, snapshot.assignments, strict=True):
            assignment.restore(picture)
        self._room = [self._room_left(n) for n in range(len(self._sides))]
        self._solve()

    def _row(self, call: ToolCall, result: ToolResult, n: int, stage: int) -> list[float]:
        """The call's similarity with every gold call of a trace; 0 where it may not be matched."""
        side = self._sides[n]
        row, gold = self._indices[n].row(call), side.gold
        if call.name in side.results and result.error is None:
            same = comparator(side.results[call.name])
            for j, (known, wanted) in enumerate(zip(gold.calls, gold.results, strict=True)):
                if known.name == call.name and wanted.ok and same(result.content, wanted.content):
                    row[j] = 1.0
        if result.error is not None and not self._spec.failed_calls_match:
            row = [score * (not wanted.ok) for score, wanted in zip(row, gold.results, strict=True)]
        if self._teacher_forced:
            row = [score * (wanted.stage == stage) for score, wanted in zip(row, gold.trace.calls, strict=True)]
        return row

    def _room_left(self, n: int) -> int | None:
        """How many more pairs of positive similarity can be matched; `None` where there is no limit."""
        if self._spec.matching != "ordered" or not is_limited(len(self._sides[n].gold.calls), self._sides[n].edges):
            return None
        return LARGEST - sum(weight > 0.0 for row in self._rows[n] for weight in row)

    def _fitted(self, row: list[float], n: int) -> list[float]:
        """The row, like no gold call if there is no room for it: no action may raise, and only a flood comes there."""
        room = (self._room[n] or 0) - sum(weight > 0.0 for weight in row)
        if room < 0:
            return [0.0] * len(row)
        self._room[n] = room
        return row

    def _solve(self) -> None:
        """Set `trace`, `value` and `pairs` to the matching of all calls so far."""
        best = self._solved(0)
        trace = 0
        for n in range(1, len(self._sides)):
            other = self._solved(n)
            if other[0] > best[0]:
                best, trace = other, n
        self.value: float = best[0]
        """Value of the best assignment, in [0, number of gold calls] (`soft`: in [0, 1] unless rescaled)."""
        self.trace: int = trace
        """Which gold trace is matched best: 0 the main one, then its alternatives; the first of equals."""
        self.pairs: Pairs = best[1]

    def _solved(self, n: int) -> tuple[float, Pairs]:
        """Value and pairs for one trace."""
        side, assignment = self._sides[n], self._assignments[n]
        if self._spec.matching == "hard":
            pairs = assignment.pairs
            return self._staged(side, pairs) if self._spec.staged else assignment.value, pairs
        matrix = self._matrix(n)
        if self._spec.matching == "ordered":
            found = ordered(matrix, [turn for turn, _, _ in self.calls], side.edges)
            return found.total, tuple((i, j, float(matrix[i, j])) for i, j in found.pairs)
        # What a call is said to be matched with is its part in the hard assignment; what it earns is the plan's.
        return soft(matrix, self._spec.epsilon, rescale=self._spec.rescale).total, assignment.pairs

    def _matrix(self, n: int) -> NDArray[np.float64]:
        rows = self._rows[n]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self._sides[n].gold.calls))

    @staticmethod
    def _staged(side: GoldSide, pairs: Pairs) -> float:
        """Value of the pairs whose earlier stages are all fully matched."""
        scores = {gold: score for _, gold, score in pairs}
        total = 0.0
        for level in side.gold.levels():
            total += sum(scores.get(gold, 0.0) for gold in level)
            if any(scores.get(gold, 0.0) < 1.0 for gold in level):
                break
        return total
