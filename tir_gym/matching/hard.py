"""Hard assignment: the true maximum-weight bipartite matching (MatchTIR eq 5), not a greedy one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

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
    """`[P]`: the similarity with which each predicted call was matched, minus the penalty where it was not."""


def hard(similarity: ArrayLike, *, unmatched_penalty: float = 0.0) -> Assignment:
    """The matching of greatest total similarity. Ties are broken the same way every time.

    Args:
        similarity: Array `[P, G]`, finite and not negative; either side may be empty.
        unmatched_penalty: Lambda of eq 5, what an unmatched predicted call loses; the paper trains with 0.

    Raises:
        UsageError: Not such a matrix.
    """
    matrix = as_matrix(similarity)
    earned = [-unmatched_penalty if unmatched_penalty else 0.0] * matrix.shape[0]
    if matrix.size == 0:
        return Assignment((), 0.0, np.array(earned))
    rows, columns = solve(matrix)
    total, pairs = 0.0, []
    for i, j, weight in zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), strict=True):
        if weight > 0.0:
            earned[i] = weight
            total += weight
            pairs.append((i, j))
    return Assignment(tuple(pairs), total, np.array(earned))


def as_matrix(similarity: ArrayLike) -> NDArray[np.float64]:
    """The similarities as a float array `[P, G]`.

    Raises:
        UsageError: Another shape, or an entry that is negative or not finite.
    """
    matrix = two_sided(similarity)
    # The least entry tells of NaN as well; an infinite one is refused by the solver.
    if not matrix.min(initial=0.0) >= 0.0:
        raise _not_such(matrix)
    return matrix


def two_sided(similarity: ArrayLike) -> NDArray[np.float64]:
    """A float array `[P, G]`, whatever its entries.

    Raises:
        UsageError: Another shape.
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.ndim == 1 and matrix.size == 0:
        matrix = matrix.reshape(0, 0)
    if matrix.ndim != 2:
        raise _not_such(matrix)
    return matrix


def solve(matrix: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the best pairs, by row; some may have no weight.

    Raises:
        UsageError: An entry that is not finite.
    """
    try:
        rows, columns = _solver()(matrix, maximize=True)
    except ValueError:
        raise _not_such(matrix) from None
    return rows, columns


@cache
def _solver() -> Any:
    # scipy.optimize takes a quarter of a second to import, and only matching needs it.
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment


def _not_such(matrix: NDArray[np.float64]) -> UsageError:
    odd = matrix[~(np.isfinite(matrix) & (matrix >= 0.0))]
    what = f"shape {matrix.shape}" + (f" with {odd.flat[0]}" if odd.size else "")
    return UsageError(f"similarity must be a finite matrix [P, G] without negative entries, got {what}")
