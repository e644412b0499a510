"""How far a figure can be trusted: 95% intervals, by formula for a share and by resampling tasks for the rest."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from tir_gym.records import Record

RESAMPLES = 2000

_Z = 1.959963984540054  # 97.5% quantile of the normal distribution
_DRAWS_AT_ONCE = 2_000_000


class Estimate(Record):
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float
    n: int
    """What it was estimated from: episodes for a rate or a return, tasks for pass@k and pass^k."""


def wilson(successes: int, n: int) -> Estimate | None:
    """A share with Wilson's score interval, `None` for n = 0. Wilson 1927; sound for small n and at 0 and 1, where
    the textbook interval is not.

        (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    """
    if n == 0:
        return None
    low, high = score_interval(successes / n, n)
    return Estimate(value=successes / n, low=low, high=high, n=n)


def score_interval(p: float, n: int) -> tuple[float, float]:
    """Ends of Wilson's interval for a share `p` seen in `n >= 1` independent draws; they hold `p`."""
    scale = 1.0 + _Z**2 / n
    middle = (p + _Z**2 / (2 * n)) / scale
    half = _Z * sqrt(p * (1.0 - p) / n + _Z**2 / (4.0 * n * n)) / scale
    return 0.0 if p == 0.0 else max(0.0, middle - half), 1.0 if p == 1.0 else min(1.0, middle + half)


def bootstrap_ratios(
    totals: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap intervals of several ratios at once: sum of totals over sum of weights.

    Whole tasks are resampled, because episodes of one task are no independent draws. The generator is seeded with a
    constant; all ratios see the same resamples.

    Args:
        totals: `[tasks, figures]`.
        weights: `[tasks, figures]`, >= 0, what each total is out of; each column has one above 0.

    Returns:
        Low and high ends, `[figures]` each.
    """
    tasks, figures = totals.shape
    generator = np.random.default_rng(0)
    ratios = np.empty((RESAMPLES, figures))
    chunk = max(1, _DRAWS_AT_ONCE // tasks)
    for start in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - start)
        drawn = generator.integers(tasks, size=(rows, tasks))
        flat = (drawn + np.arange(rows)[:, None] * tasks).ravel()
        counts = np.bincount(flat, minlength=rows * tasks).reshape(rows, tasks).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios[start : start + rows] = (counts @ totals) / (counts @ weights)
    low, high = np.nanquantile(ratios, [0.025, 0.975], axis=0)
    return low, high
