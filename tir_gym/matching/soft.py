"""Soft assignment: entropic optimal transport between predicted and gold calls (MatchTIR eqs 6-7).

    min_T  sum_ij T_ij C_ij - epsilon H(T)   with  C = -S,  rows of T summing to 1/P, columns to 1/G
    r_i  = sum_j T_ij S_ij

The plan is unique. It is found through its dual in one variable per gold call: a few Sinkhorn steps (Cuturi 2013,
arXiv 1306.0895), then Newton's, which converge where Sinkhorn would crawl. All in the log domain, all problems at once.

With uniform marginals a call earns at most 1/P, so a perfect trace of P calls earns 1 in all; `rescale=True` multiplies
by P, so that it earns 1 a call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tir_gym.errors import UsageError

_SINKHORN_STEPS = 3
"""Before Newton's steps, and again wherever one of those does not help."""
_ROUNDS = 100
_BLUNT = 50.0
"""S / epsilon up to which a problem is solved at once."""
_SHARPEN = 4.0
_TOLERANCE = 1e-10
"""On the column sums of the plan, relative to 1/G."""


@dataclass(frozen=True)
class SoftAssignment:
    """A transport plan between predicted (rows) and gold (columns) calls."""

    plan: NDArray[np.float64]
    """T, `[P, G]`; zeros where a side is empty."""
    rewards: NDArray[np.float64]
    """`[P]`: row sums of T * S, times P where rescaled."""

    @property
    def total(self) -> float:
        return float(self.rewards.sum())


def soft(similarity: ArrayLike, epsilon: float = 0.1, *, rescale: bool = False) -> SoftAssignment:
    """The entropic transport plan of one problem.

    Args:
        similarity: S, `[P, G]`, finite; either side may be empty, and then nothing is earned.
        epsilon: Weight of the entropy, > 0. Small: near the hard assignment. Large: near the even plan.
        rescale: Whether a perfect trace earns 1 a call instead of 1 in all.

    Raises:
        UsageError: Not a finite matrix, or epsilon not positive.
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.ndim == 1 and matrix.size == 0:
        matrix = matrix.reshape(0, 0)
    return soft_batch([matrix], epsilon, rescale=rescale)[0]


def soft_batch(similarities: Sequence[Any], epsilon: float = 0.1, *, rescale: bool = False) -> list[SoftAssignment]:
    """The plans of many problems of any sizes, solved together.

    Args:
        similarities: Matrices `[P_n, G_n]`: NumPy, or torch tensors on one device, which is then where it is done.
        epsilon: See `soft`.
        rescale: See `soft`.

    Returns:
        One `SoftAssignment` each, of the kind of array that was given.

    Raises:
        UsageError: As `soft`.
    """
    if not epsilon > 0:
        raise UsageError(f"epsilon={epsilon!r} must be positive; for no entropy use hard()")
    if not similarities:
        return []
    from array_api_compat import array_namespace

    xp = array_namespace(*similarities)
    for matrix in similarities:
        if matrix.ndim != 2 or not bool(xp.all(xp.isfinite(matrix))):
            raise UsageError(f"similarity must be a finite matrix [P, G], got shape {tuple(matrix.shape)}")
    solved: list[SoftAssignment | None] = [
        None if matrix.shape[0] and matrix.shape[1] else SoftAssignment(xp.zeros_like(matrix), _no_rewards(xp, matrix))
        for matrix in similarities
    ]
    for members in _by_size([tuple(matrix.shape) for matrix in similarities]):
        padded, row_mass, column_mass = _pad(xp, [similarities[n] for n in members])
        plan = _solve(xp, padded / epsilon, row_mass, column_mass)
        rewards = xp.sum(plan * padded, axis=2)
        for k, n in enumerate(members):
            p, g = similarities[n].shape
            scale = float(p) if rescale else 1.0
            solved[n] = SoftAssignment(plan[k, :p, :g], rewards[k, :p] * scale)
    return [one for one in solved if one is not None]


def _no_rewards(xp: Any, matrix: Any) -> Any:
    return xp.zeros((matrix.shape[0],), dtype=matrix.dtype, device=matrix.device)


def _by_size(shapes: list[tuple[int, ...]]) -> list[list[int]]:
    """Problems that are padded to one size: those whose sides round up to the same power of two. Empty ones apart."""
    groups: dict[tuple[int, int], list[int]] = {}
    for n, (p, g) in enumerate(shapes):
        if p and g:
            groups.setdefault(((p - 1).bit_length(), (g - 1).bit_length()), []).append(n)
    return list(groups.values())


def _pad(xp: Any, matrices: list[Any]) -> tuple[Any, Any, Any]:
    """`[B, P, G]`, and the marginals `[B, P]` and `[B, G]`, zero where a row or column is only padding."""
    rows = max(matrix.shape[0] for matrix in matrices)
    columns = max(matrix.shape[1] for matrix in matrices)
    options = {"dtype": xp.float64, "device": matrices[0].device}
    padded = xp.zeros((len(matrices), rows, columns), **options)
    row_mass = xp.zeros((len(matrices), rows), **options)
    column_mass = xp.zeros((len(matrices), columns), **options)
    for k, matrix in enumerate(matrices):
        p, g = matrix.shape
        padded[k, :p, :g] = matrix
        row_mass[k, :p] = 1.0 / p
        column_mass[k, :g] = 1.0 / g
    return padded, row_mass, column_mass


def _solve(xp: Any, scores: Any, row_mass: Any, column_mass: Any) -> Any:
    """The plans `[B, P, G]` for `scores` = S / epsilon.

    With column potentials v, the best row potentials are known, and the plan's rows have the right sums:
        T_ij = a_i exp(scores_ij + v_j) / sum_k exp(scores_ik + v_k)
    What remains is a concave problem in v, whose gradient is the gap in the column sums, b_j - sum_i T_ij, and whose
    Hessian is -(diag(column sums) - T' diag(1/a) T).
    """
    real = column_mass > 0
    scores = xp.where((row_mass > 0)[:, :, None] & real[:, None, :], scores, xp.zeros_like(scores))
    potential = xp.zeros_like(column_mass)
    # Sharp problems (small epsilon) are reached through blunter ones, each begun from the last one's potentials.
    spread = float(xp.max(xp.abs(scores)))
    levels = max(0, math.ceil(math.log(spread / _BLUNT, _SHARPEN))) if spread > _BLUNT else 0
    for level in range(levels, 0, -1):
        potential = _converge(xp, scores / _SHARPEN**level, potential, row_mass, column_mass) * _SHARPEN
    return _plan(xp, scores, _converge(xp, scores, potential, row_mass, column_mass), row_mass, real)


def _converge(xp: Any, scores: Any, potential: Any, row_mass: Any, column_mass: Any) -> Any:
    """The column potentials `[B, G]`, from those given."""
    potential = _sinkhorn(xp, scores, potential, row_mass, column_mass)
    todo = xp.arange(scores.shape[0], device=scores.device)
    for _ in range(_ROUNDS):
        part, rows, target, now = scores[todo], row_mass[todo], column_mass[todo], potential[todo]
        plan = _plan(xp, part, now, rows, target > 0)
        gap = _gap(xp, target, plan)
        wrong = gap > _TOLERANCE
        if not bool(xp.any(wrong)):
            break
        todo, part, rows, target, now, plan, gap = (
            array[wrong] for array in (todo, part, rows, target, now, plan, gap)
        )
        trial = now + _newton_step(xp, plan, rows, target)
        worse = _gap(xp, target, _plan(xp, part, trial, rows, target > 0)) > 0.5 * gap
        if bool(xp.any(worse)):
            trial[worse] = _sinkhorn(xp, part[worse], now[worse], rows[worse], target[worse])
        potential[todo] = trial
    return potential


def _sinkhorn(xp: Any, scores: Any, potential: Any, row_mass: Any, column_mass: Any) -> Any:
    """Potentials after a few steps that each set the column sums right, and so put the rows off a little less."""
    real = column_mass > 0
    one = xp.ones_like(column_mass)
    for _ in range(_SINKHORN_STEPS):
        sums = xp.sum(_plan(xp, scores, potential, row_mass, real), axis=1)
        step = xp.log(xp.where(real, column_mass, one)) - xp.log(xp.where(real & (sums > 0), sums, one))
        potential = potential + xp.where(real, step, 0.0 * one)
    return potential


def _newton_step(xp: Any, plan: Any, row_mass: Any, column_mass: Any) -> Any:
    real = column_mass > 0
    sums = xp.sum(plan, axis=1)
    per_row = xp.where(row_mass > 0, 1.0 / xp.where(row_mass > 0, row_mass, xp.ones_like(row_mass)), row_mass)
    flow = xp.matmul(xp.matrix_transpose(plan * per_row[:, :, None]), plan)
    # Potentials are free up to a constant: a term along the ones of the real columns pins it.
    ones = xp.where(real, xp.ones_like(sums), xp.zeros_like(sums))
    pin = ones[:, :, None] * ones[:, None, :] * xp.mean(column_mass, axis=1)[:, None, None]
    eye = xp.eye(sums.shape[1], dtype=sums.dtype, device=sums.device)[None, :, :]
    hessian = eye * xp.where(real, sums + 1e-14, xp.ones_like(sums))[:, :, None] - flow + pin
    return xp.linalg.solve(hessian, (column_mass - sums)[:, :, None])[:, :, 0]


def _plan(xp: Any, scores: Any, potential: Any, row_mass: Any, real: Any) -> Any:
    raised = xp.where(real, potential, xp.full_like(potential, -float("inf")))[:, None, :] + scores
    raised = xp.exp(raised - xp.max(raised, axis=2, keepdims=True))
    return raised * (row_mass / xp.sum(raised, axis=2))[:, :, None]


def _gap(xp: Any, target: Any, plan: Any) -> Any:
    """How far the column sums are from what they should be, `[B]`."""
    return xp.sum(xp.abs(target - xp.sum(plan, axis=1)), axis=1)
