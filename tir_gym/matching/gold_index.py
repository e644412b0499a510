"""The gold side of the matching, prepared once and compared with many predicted calls.

Every argument name of the gold calls gets a bit, and so does every `(name, value)`. A call is then two integers, and
what eqs 2 and 3 count for a pair of calls is two `&`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from tir_gym.compare import Comparator, comparator, token
from tir_gym.matching.parts import Call, call_parts

Strictness: TypeAlias = Literal["partial", "graded", "strict"]
Rules: TypeAlias = Mapping[str, str | Comparator]
"""Comparators, or their names, by argument name."""

NAME_ALONE = 0.1
"""What `graded` pays for the right tool with the right argument names and no right value."""


class GoldIndex:
    """G gold calls, numbered.

    Args:
        gold: The calls; for one that may be done in several ways, a list of calls, of which the most similar counts.
        comparators: One mapping per gold call; strict JSON equality where it is silent.
        strictness: See `similarity.py`.
        fold_names: Compare the calls' names without regard to case.
    """

    def __init__(
        self,
        gold: Sequence[Call | Sequence[Call]],
        comparators: Sequence[Rules | None] | None = None,
        *,
        strictness: Strictness = "partial",
        fold_names: bool = False,
    ) -> None:
        self.strictness = strictness
        self.fold_names = fold_names
        self._size = len(gold)
        self._by_name: dict[str, list[_GoldCall]] = {}
        self._names: dict[str, tuple[int, dict[Any, int]]] = {}
        bit = 1
        for column, call in _ways(gold):
            name, arguments = call_parts(call, fold_names)
            if name is None or arguments is None:
                continue
            rules = (comparators[column] if comparators else None) or {}
            names = values = 0
            ruled = []
            for key, value in arguments.items():
                if key not in self._names:
                    self._names[key] = (bit, {})
                    bit <<= 1
                key_bit, tokens = self._names[key]
                names |= key_bit
                rule = rules.get(key, "exact")
                if rule != "exact":
                    ruled.append((key, value, comparator(rule) if isinstance(rule, str) else rule))
                    continue
                mark = token(value)
                if mark not in tokens:
                    tokens[mark] = bit
                    bit <<= 1
                values |= tokens[mark]
            self._by_name.setdefault(name, []).append(_GoldCall(column, names, values, len(arguments), tuple(ruled)))

    def __len__(self) -> int:
        return self._size

    def row(self, call: Call) -> list[float]:
        """Similarity of a predicted call with each gold call: `[G]`, eqs 1-4."""
        scores = [0.0] * self._size
        name, arguments = call_parts(call, self.fold_names)
        if name is None or arguments is None or name not in self._by_name:
            return scores  # eq 1
        names = values = 0
        for key, value in arguments.items():
            known = self._names.get(key)
            if known is not None:
                names |= known[0]
                kind = type(value)
                values |= known[1].get(value if kind is str or kind is int else token(value), 0)
        given = len(arguments)
        for gold in self._by_name[name]:
            shared = (names & gold.names).bit_count()
            equal = (values & gold.values).bit_count()
            for key, value, same in gold.ruled:
                equal += key in arguments and same(arguments[key], value)
            found = score(self.strictness, shared, given + gold.size - shared, equal, gold.size)
            if found > scores[gold.column]:
                scores[gold.column] = found
        return scores


def score(strictness: Strictness, shared: int, union: int, equal: int, size: int) -> float:
    """Similarity of two calls of the same name.

    Args:
        strictness: How a partly right call is paid.
        shared: Argument names in both calls.
        union: Argument names in either.
        equal: Gold arguments with an equal value, eq 3.
        size: Gold arguments.
    """
    names = shared / union if union else 1.0  # eq 2
    if strictness == "partial":
        return (1.0 + names + equal) / (2.0 + size)  # eq 4
    if strictness == "strict":
        return 1.0 if shared == union and equal == size else 0.0
    return names * (NAME_ALONE + (1.0 - NAME_ALONE) * (equal / size if size else 1.0))


def _ways(gold: Sequence[Call | Sequence[Call]]) -> Iterator[tuple[int, Any]]:
    for column, entry in enumerate(gold):
        for way in entry if isinstance(entry, (list, tuple)) else (entry,):
            yield column, way


class _GoldCall(NamedTuple):
    column: int
    names: int
    values: int
    size: int
    ruled: tuple[tuple[str, Any, Comparator], ...]
