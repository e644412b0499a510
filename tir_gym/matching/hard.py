"""Hard assignment: the true maximum-weight bipartite matching (MatchTIR eq 5), not a greedy one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tir_gym.errors import UsageError


@dataclass(frozen=True)
class Assignment:
    """A one-to-one matching of predicted (rows) and gold (columns) calls."""

    pairs: tuple[tuple[int, int], ...]
    """`(predicted, gold)`, by predicted; only pairs with a positive similarity."""
    total: float
    """Sum of the similarities of the pairs."""
    rewards: NDArray[np.float64]
    """`[P]`: the similarity with which each predicted call was matched, 0 where it was not."""


def hard(similarity: ArrayLike) -> Assignment:
    """The matching of greatest total similarity. Ties are broken the same way every time.

    Args:
        similarity: Array `[P, G]`, finite; either side may be empty.

    Raises:
        UsageError: Not a finite matrix.
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.ndim == 1 and matrix.size == 0:
        matrix = matrix.reshape(0, 0)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise UsageError(f"similarity must be a finite matrix [P, G], got shape {matrix.shape}")
    rewards = np.zeros(matrix.shape[0])
    if matrix.size == 0:
        return Assignment((), 0.0, rewards)
    # scipy.optimize takes a quarter of a second to import, and only matching needs it.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(matrix, maximize=True)
    pairs = tuple((int(i), int(j)) for i, j in zip(rows, columns, strict=True) if matrix[i, j] > 0.0)
    for i, j in pairs:
        rewards[i] = matrix[i, j]
    return Assignment(pairs, float(rewards.sum()), rewards)
