"""Success and pass^k of a run from counts: how many tasks had n attempts of which c succeeded.

The figures are those of `metrics.summarise`. Their intervals are found the same way, tasks resampled, but from the
counts, so that ten thousand tasks cost no more than ten; the draws are others, and with few tasks the
ends may differ by a point or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tir_gym.metrics import Estimate, pass_hat_k
from tir_gym.metrics.intervals import RESAMPLES, score_interval


@dataclass(frozen=True)
class Attempts:
    """Tasks that went alike."""

    n: int
    """Attempts at each."""
    c: int
    """Of which succeeded."""
    tasks: int
    """How many tasks."""


def success_of(attempts: Sequence[Attempts]) -> Estimate | None:
    """The success rate over episodes with its 95% interval; `None` without episodes."""
    tasks = sum(each.tasks for each in attempts)
    n = sum(each.n * each.tasks for each in attempts)
    if not n:
        return None
    value = sum(each.c * each.tasks for each in attempts) / n
    if all(each.c in (0, each.n) for each in attempts):
        return Estimate(value=value, low=(ends := score_interval(value, tasks))[0], high=ends[1], n=n)
    drawn = np.random.default_rng(0).multinomial(tasks, [each.tasks / tasks for each in attempts], size=RESAMPLES)
    rates = (drawn @ np.array([each.c for each in attempts])) / (drawn @ np.array([each.n for each in attempts]))
    low, high = np.quantile(rates, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def pass_rate(attempts: Sequence[Attempts], k: int) -> float | None:
    """Mean over tasks with at least `k` attempts of the chance that all of k succeed; `None` where no task has."""
    enough = [each for each in attempts if each.n >= k]
    tasks = sum(each.tasks for each in enough)
    return sum(each.tasks * pass_hat_k(each.n, each.c, k) for each in enough) / tasks if tasks else None
