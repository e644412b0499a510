"""The gold side of the matching, prepared once and compared with many predicted calls.

Gold calls are sorted by tool, and each value is kept with the quickest way to tell whether another equals it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from tir_gym.compare import Comparator, comparator, json_equal
from tir_gym.matching.parts import Call, call_parts

Strictness: TypeAlias = Literal["partial", "graded", "strict"]
Rules: TypeAlias = Mapping[str, str | Comparator]
"""Comparators, or their names, by argument name."""

NAME_ALONE = 0.1
"""What `graded` pays for the right tool with the right argument names and no right value."""


class GoldIndex:
    """G gold calls, ready to be compared.

    Args:
        gold: The calls; for one that may be done in several ways, a list of calls, of which the most similar counts.
        comparators: One mapping per gold call, or a mapping of tool name to such a mapping, which then holds for every
            call of the tool; strict JSON equality where it is silent.
        strictness: See `similarity.py`.
        fold_names: Compare the calls' names without regard to case.
    """

    def __init__(
        self,
        gold: Sequence[Call | Sequence[Call]],
        comparators: Sequence[Rules | None] | Mapping[str, Rules] | None = None,
        *,
        strictness: Strictness = "partial",
        fold_names: bool = False,
    ) -> None:
        by_tool: dict[str | None, Rules] = {}
        if isinstance(comparators, Mapping):
            by_tool = {tool.casefold() if fold_names else tool: rules for tool, rules in comparators.items()}
            comparators = None
        self.strictness: Strictness = strictness
        self.fold_names = fold_names
        self._nothing = [0.0] * len(gold)
        self._by_name: dict[str | None, list[_GoldCall]] = {}
        for column, entry in enumerate(gold):
            rules = comparators[column] if comparators else None
            for call in entry if isinstance(entry, (list, tuple)) else (entry,):
                name, arguments = call_parts(call, fold_names)
                if arguments is not None:
                    values: list[_GoldValue] = [
                        (key, value, _ATOMS.get(type(value)), json_equal) for key, value in arguments.items()
                    ]
                    own = by_tool.get(name, rules) if by_tool else rules
                    found = (column, len(values), _ruled(values, own) if own else values)
                    self._by_name.setdefault(name, []).append(found)

    def __len__(self) -> int:
        return len(self._nothing)

    def row(self, call: Call) -> list[float]:
        """Similarity of a predicted call with each gold call: `[G]`, eqs 1-4. Never raises on odd calls."""
        scores = self._nothing.copy()
        name, arguments = call_parts(call, self.fold_names)
        if arguments is None or name not in self._by_name:
            return scores  # eq 1
        given, partial = len(arguments), self.strictness == "partial"
        for column, size, values in self._by_name[name]:
            shared = equal = 0
            for key, value, kind, same in values:
                if key in arguments:
                    shared += 1
                    other = arguments[key]
                    if type(other) is kind:
                        equal += other == value
                    elif kind is not str:
                        equal += same(other, value)
            union = given + size - shared
            names = shared / union if union else 1.0  # eq 2
            if partial:
                found = (1.0 + names + equal) / (2.0 + size)  # eq 4; `equal` is eq 3
            elif self.strictness == "strict":
                found = 1.0 if shared == union and equal == size else 0.0
            else:
                found = names * (NAME_ALONE + (1.0 - NAME_ALONE) * (equal / size if size else 1.0))
            if found > scores[column]:
                scores[column] = found
        return scores


def ruled(rules: Rules | None, key: str) -> Comparator | None:
    """The comparator of an argument; `None` where it is JSON's equality."""
    rule = rules.get(key, "exact") if rules else "exact"
    if rule == "exact":
        return None
    return comparator(rule) if isinstance(rule, str) else rule


def _ruled(values: list[_GoldValue], rules: Rules) -> list[_GoldValue]:
    """The values, with their comparators where rules say so."""
    found: list[_GoldValue] = []
    for key, value, kind, same in values:
        rule = ruled(rules, key)
        found.append((key, value, kind, same) if rule is None else (key, value, None, rule))
    return found


_GoldValue: TypeAlias = tuple[str, Any, type | None, Comparator]
"""Name, value, the type within which `==` is JSON's equality (`None`: in no type), and the comparator beyond it."""

_GoldCall: TypeAlias = tuple[int, int, list[_GoldValue]]
"""Column, number of arguments, and the arguments."""

_ATOMS: dict[type, type] = {kind: kind for kind in (str, int, float, bool, type(None))}
