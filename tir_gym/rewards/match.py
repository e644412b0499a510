"""The explanation of a turn's reward: which call paid for which gold call, and why it paid no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from tir_gym.compare import comparator
from tir_gym.matching import similarity
from tir_gym.rewards.match_term import MatchTerm


class Match:
    """The state of the matching after a turn. Made every turn, so what it explains is computed when asked for.

    Attributes:
        reward: The turn's reward.
        parts: The reward's terms by name; they sum to `reward`.
        value: V, the value of the best assignment so far, in [0, number of gold calls].
        pairs: `(call, gold, similarity)` for each matched call, counting calls from the episode's start.
        trace: Which gold trace was matched best: 0 the main one, then its alternatives.
    """

    def __init__(self, parts: Mapping[str, float], term: MatchTerm) -> None:
        self.reward = sum(parts.values(), 0.0)
        self.parts = dict(parts)
        self.value = term.value
        self.pairs = term.pairs
        self.trace = term.trace
        self._calls = term.calls  # grows with the episode; this match is about the first `_size` of them
        self._size = len(term.calls)
        self._side = term.side
        self._reading = term.reading

    @property
    def gold_calls(self) -> int:
        return len(self._side.gold.calls)

    @cached_property
    def calls(self) -> tuple[dict[str, Any], ...]:
        """One entry per call so far: `turn`, `name`, `status` (`matched`, `redundant`, `failed`), `gold`, `score`,
        and for a matched call its `way` (0: the gold call itself, then its alternatives) and its `right`, `wrong`,
        `missing` and `extra` arguments by name."""
        paid = {call: (gold, score) for call, gold, score in self.pairs}
        strictness, fold_names = self._reading
        entries = []
        for i, (turn, call, error) in enumerate(self._calls[: self._size]):
            gold, score = paid.get(i, (None, 0.0))
            status = "matched" if gold is not None else "redundant" if error is None else "failed"
            entry: dict[str, Any] = {
                "turn": turn,
                "name": call.name,
                "status": status,
                "gold": gold,
                "score": score,
            }
            if gold is not None:
                ways = [self._side.gold.calls[gold], *self._side.gold.others[gold]]
                rules = [self._side.comparators.get(way.name, {}) for way in ways]
                alike = [
                    similarity(call, way, comparators=own, strictness=strictness, fold_names=fold_names)
                    for way, own in zip(ways, rules, strict=True)
                ]
                best = entry["way"] = alike.index(max(alike))
                entry |= _arguments(call.arguments, ways[best].arguments, rules[best])
            entries.append(entry)
        return tuple(entries)

    @property
    def unmatched_gold(self) -> tuple[int, ...]:
        """Gold calls that nothing has paid for yet."""
        paid = {gold for _, gold, _ in self.pairs}
        return tuple(j for j in range(len(self._side.gold.calls)) if j not in paid)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {
            "reward": self.reward,
            "parts": self.parts,
            "value": self.value,
            "gold_calls": self.gold_calls,
            "trace": self.trace,
            "unmatched_gold": list(self.unmatched_gold),
            "calls": [dict(entry) for entry in self.calls],
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Match) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Match(value={self.value:g} of {self.gold_calls}, reward={self.reward:g}, pairs={len(self.pairs)})"

    def __getstate__(self) -> dict[str, Any]:
        # Between processes travel the calls that this match is about, and of the gold side what explains it.
        gold = replace(self._side.gold, changes={}, stage_starts={}, end=None)
        side = replace(self._side, gold=gold, _indices={})
        return {**self.__dict__, "_calls": self._calls[: self._size], "_side": side}


def _arguments(predicted: Mapping[str, Any], gold: Mapping[str, Any], rules: Mapping[str, str]) -> dict[str, list[str]]:
    right = [k for k in gold if k in predicted and comparator(rules.get(k, "exact"))(predicted[k], gold[k])]
    return {
        "right": right,
        "wrong": [k for k in gold if k in predicted and k not in right],
        "missing": [k for k in gold if k not in predicted],
        "extra": [k for k in predicted if k not in gold],
    }
