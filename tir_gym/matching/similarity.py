"""How alike are a predicted and a gold call? MatchTIR (arXiv 2601.10712), eqs 1-4, and two stricter readings.

    S_tn = [name_p == name_g]                                       eq 1
    S_pn = |N_p & N_g| / |N_p | N_g|     (1 if both are empty)      eq 2, N: argument names
    S_pc = number of k in N_g with p[k] == g[k]                     eq 3
    S    = S_tn * (S_tn + S_pn + S_pc) / (2 + |N_g|)                eq 4

`partial` is the paper's S. It pays 2 / (2 + |N_g|) for a right name with all values wrong. `strict` pays 1 for
a fully right call and 0 for any other. `graded` weighs by values: S_tn * S_pn * (0.1 + 0.9 * S_pc / |N_g|),
with S_pc / |N_g| = 1 where the gold call has no arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tir_gym.compare import comparator, json_equal
from tir_gym.records import GoldCall, ToolCall

Call: TypeAlias = ToolCall | GoldCall | Mapping[str, Any]
Strictness: TypeAlias = Literal["partial", "graded", "strict"]

NAME_ALONE = 0.1
"""What `graded` pays for the right tool with the right argument names and no right value."""


def similarity(
    predicted: Call,
    gold: Call,
    *,
    comparators: Mapping[str, str] | None = None,
    strictness: Strictness = "partial",
) -> float:
    """Similarity of two calls, in [0, 1].

    Args:
        predicted: A `ToolCall`, or a dict with `name` and `arguments`.
        gold: Likewise.
        comparators: Comparator names by argument of the gold call; strict JSON equality elsewhere.
        strictness: `partial` (the paper), `graded` or `strict`.

    Returns:
        0 for calls that are no calls (a name that is no text, arguments that are no object); never raises on them.
    """
    name_p, arguments_p = _parts(predicted)
    name_g, arguments_g = _parts(gold)
    if name_p is None or name_p != name_g or arguments_p is None or arguments_g is None:
        return 0.0
    shared, all_names, equal = overlap(arguments_p, arguments_g, comparators)
    size = len(arguments_g)
    names = shared / all_names if all_names else 1.0  # eq 2
    if strictness == "partial":
        return (1.0 + names + equal) / (2.0 + size)  # eq 4
    if strictness == "strict":
        return 1.0 if names == 1.0 and equal == size else 0.0
    return names * (NAME_ALONE + (1.0 - NAME_ALONE) * (equal / size if size else 1.0))


def similarity_matrix(
    predicted: Sequence[Call],
    gold: Sequence[Call],
    *,
    comparators: Sequence[Mapping[str, str] | None] | None = None,
    strictness: Strictness = "partial",
) -> NDArray[np.float64]:
    """Similarity of every predicted call with every gold call.

    Args:
        predicted: P calls.
        gold: G calls.
        comparators: One mapping per gold call, see `similarity`.
        strictness: See `similarity`.

    Returns:
        Array `[P, G]`.
    """
    rules = comparators if comparators is not None else [None] * len(gold)
    matrix = np.zeros((len(predicted), len(gold)))
    for i, p in enumerate(predicted):
        for j, g in enumerate(gold):
            matrix[i, j] = similarity(p, g, comparators=rules[j], strictness=strictness)
    return matrix


def overlap(
    predicted: Mapping[str, Any], gold: Mapping[str, Any], comparators: Mapping[str, str] | None = None
) -> tuple[int, int, int]:
    """Argument names shared, argument names in all, and gold arguments with an equal value."""
    shared = equal = 0
    for key, value in gold.items():
        if key in predicted:
            shared += 1
            same = comparator(comparators[key]) if comparators and key in comparators else json_equal
            equal += same(predicted[key], value)
    return shared, len(predicted) + len(gold) - shared, equal


def _parts(call: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    if isinstance(call, (ToolCall, GoldCall)):
        return call.name, call.arguments
    if not isinstance(call, Mapping):
        return None, None
    name, arguments = call.get("name"), call.get("arguments", {})
    return name if isinstance(name, str) else None, arguments if isinstance(arguments, Mapping) else None
