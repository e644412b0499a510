"""Ordered assignment: the best matching that never puts a call before one that its gold depends on.

A gold trace is a DAG: edges say which calls must come first, because their results are needed. If gold call h depends
on g (directly or through others) and both are matched, then g's call must stand in a strictly earlier turn than h's:
an agent cannot have read a result in the turn that asked for it.

Exact in every case. Without edges it is `hard`; where `hard` happens to keep the order, that is the answer; a chain is
solved by dynamic programming over turns, O(turns * G + P * G); any other DAG as a mixed-integer program (HiGHS).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tir_gym.errors import UsageError
from tir_gym.matching.hard import Assignment, as_matrix, hard

LARGEST = 1000
"""P * G, counting only pairs of positive similarity, up to which a general DAG is solved; chains have no limit."""


def ordered(
    similarity: ArrayLike,
    turns: Sequence[int],
    after: Sequence[tuple[int, int]],
    *,
    unmatched_penalty: float = 0.0,
) -> Assignment:
    """The matching of greatest total similarity among those that keep the order.

    Args:
        similarity: Array `[P, G]`, finite and not negative.
        turns: The turn of each predicted call, `[P]`, not decreasing.
        after: Edges `(earlier, later)` between gold calls.
        unmatched_penalty: See `hard`.

    Raises:
        UsageError: Edges that form a circle or name no gold call, turns that decrease, or a DAG that is no chain with
            more than `LARGEST` positive pairs.
    """
    matrix = as_matrix(similarity)
    turn = np.asarray(turns, dtype=np.int64)
    if turn.shape != (matrix.shape[0],) or np.any(np.diff(turn) < 0):
        raise UsageError(
            f"turns must be one number per predicted call ({matrix.shape[0]}), not decreasing; got {turns!r}"
        )
    before = _closure(matrix.shape[1], after)
    free = hard(matrix, unmatched_penalty=unmatched_penalty)
    if not before.any() or _keeps_order(free.pairs, turn, before):
        return free
    if _is_chain(before):
        pairs = _chain(matrix, turn, np.argsort(before.sum(axis=0)))
    else:
        pairs = _program(matrix, turn, before)
    rewards = np.full(matrix.shape[0], -unmatched_penalty if unmatched_penalty else 0.0)
    for p, g in pairs:
        rewards[p] = matrix[p, g]
    return Assignment(tuple(sorted(pairs)), float(sum(matrix[p, g] for p, g in pairs)), rewards)


def is_limited(gold_calls: int, after: Sequence[tuple[int, int]]) -> bool:
    """Whether `LARGEST` applies to problems with that order: it has edges and is no chain.

    Raises:
        UsageError: As `ordered`, for the edges.
    """
    before = _closure(gold_calls, after)
    return bool(before.any()) and not _is_chain(before)


def _is_chain(before: NDArray[np.bool_]) -> bool:
    return np.array_equal(np.sort(before.sum(axis=0)), np.arange(len(before)))


def _closure(size: int, after: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """`[G, G]`: whether the row's call must come before the column's, through any number of edges."""
    before = np.zeros((size, size), dtype=bool)
    for earlier, later in after:
        if not (0 <= earlier < size and 0 <= later < size):
            raise UsageError(f"edge ({earlier}, {later}) names a gold call that is not among the {size}")
        before[earlier, later] = True
    for middle in range(size):  # Warshall
        before |= before[:, middle, None] & before[None, middle, :]
    if before.diagonal().any():
        raise UsageError(f"gold calls {np.flatnonzero(before.diagonal()).tolist()} depend on themselves in a circle")
    return before


def _keeps_order(pairs: Sequence[tuple[int, int]], turn: NDArray[np.int64], before: NDArray[np.bool_]) -> bool:
    return all(turn[p] < turn[q] for p, g in pairs for q, h in pairs if before[g, h])


def _chain(matrix: NDArray[np.float64], turn: NDArray[np.int64], order: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Every two gold calls are in order, so a turn matches at most one: an alignment of turns with the chain."""
    numbers = np.unique(turn)
    rows_of = [np.flatnonzero(turn == number) for number in numbers]
    # best[t, j]: value of the first t turns against the first j gold calls of the chain
    best = np.zeros((len(numbers) + 1, len(order) + 1))
    champion = np.zeros((len(numbers), len(order)), dtype=np.int64)
    for t, rows in enumerate(rows_of):
        block = matrix[np.ix_(rows, order)]
        champion[t] = rows[block.argmax(axis=0)]
        taken = best[t, :-1] + block.max(axis=0)
        best[t + 1, 1:] = np.maximum.accumulate(np.maximum(best[t, 1:], taken))
    pairs, t, j = [], len(numbers), len(order)
    while t and j:
        if best[t, j] == best[t - 1, j]:
            t -= 1
        elif best[t, j] == best[t, j - 1]:
            j -= 1
        else:
            pairs.append((int(champion[t - 1, j - 1]), int(order[j - 1])))
            t, j = t - 1, j - 1
    return pairs


def _program(matrix: NDArray[np.float64], turn: NDArray[np.int64], before: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """A variable per positive pair; no call and no gold call twice; and for g before h and every turn t,
    g matched in t or later and h matched in t or earlier cannot both be."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    row, column = np.nonzero(matrix > 0)
    if len(row) > LARGEST:
        raise UsageError(
            f"{len(row)} pairs of positive similarity under a general order; {LARGEST} is the limit. "
            "Use matching='hard', a chain, or fewer calls"
        )
    rules = [row == p for p in np.unique(row)] + [column == g for g in np.unique(column)]
    for g, h in zip(*np.nonzero(before), strict=True):
        late, early = column == g, column == h
        for t in np.unique(turn[row[late]]):
            rule = (late & (turn[row] >= t)) | (early & (turn[row] <= t))
            if (rule & early).any():
                rules.append(rule)
    found = milp(
        -matrix[row, column],
        integrality=np.ones(len(row)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(csr_array(np.array(rules, dtype=np.float64)), ub=1.0),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:  # unmatched is always allowed, so only a broken solver comes here
        raise RuntimeError(f"the solver gave up on {len(row)} pairs: {found.message}")
    chosen = np.flatnonzero(found.x > 0.5)
    return [(int(row[n]), int(column[n])) for n in chosen]
