"""How alike are a predicted and a gold call? MatchTIR (arXiv 2601.10712), eqs 1-4, and two stricter readings.

    S_tn = [name_p == name_g]                                       eq 1
    S_pn = |N_p & N_g| / |N_p | N_g|     (1 if both are empty)      eq 2, N: argument names
    S_pc = number of k in N_g with p[k] == g[k]                     eq 3
    S    = S_tn * (S_tn + S_pn + S_pc) / (2 + |N_g|)                eq 4

`partial` is the paper's S. It pays 2 / (2 + |N_g|) for a right name with all values wrong. `strict` pays 1 for
a fully right call and 0 for any other. `graded` weighs by values: S_tn * S_pn * (0.1 + 0.9 * S_pc / |N_g|),
with S_pc / |N_g| = 1 where the gold call has no arguments.

Values are compared as JSON (`compare.py`), or as a comparator says. What is no call (a name that is no text, arguments
that are no object) is like nothing, not even like itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tir_gym.matching.gold_index import GoldIndex, Rules, Strictness
from tir_gym.matching.parts import Call


def similarity(
    predicted: Call,
    gold: Call,
    *,
    comparators: Rules | None = None,
    strictness: Strictness = "partial",
    fold_names: bool = False,
) -> float:
    """Similarity of two calls, in [0, 1]. Never raises on odd calls.

    Args:
        predicted: A `ToolCall`, or a dict with `name` and `arguments`.
        gold: Likewise.
        comparators: Comparators by argument of the gold call; strict JSON equality elsewhere.
        strictness: `partial` (the paper), `graded` or `strict`.
        fold_names: Compare the calls' names without regard to case.
    """
    index = GoldIndex([gold], [comparators], strictness=strictness, fold_names=fold_names)
    return index.row(predicted)[0]


def similarity_matrix(
    predicted: Sequence[Call],
    gold: Sequence[Call] | GoldIndex,
    *,
    comparators: Sequence[Rules | None] | None = None,
    strictness: Strictness = "partial",
    fold_names: bool = False,
) -> NDArray[np.float64]:
    """Similarity of every predicted call with every gold call: the numbers of `similarity`, faster.

    Args:
        predicted: P calls.
        gold: G calls; or a `GoldIndex`, made once where the same gold is compared again and again. An index has its
            own comparators, strictness and folding.
        comparators: One mapping per gold call, see `similarity`.
        strictness: See `similarity`.
        fold_names: See `similarity`.

    Returns:
        Array `[P, G]`.
    """
    if not isinstance(gold, GoldIndex):
        gold = GoldIndex(gold, comparators, strictness=strictness, fold_names=fold_names)
    flat: list[float] = []
    for call in predicted:
        flat += gold.row(call)
    return np.array(flat, dtype=np.float64).reshape(len(predicted), len(gold))
