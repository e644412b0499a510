"""Groups of trajectories of `process.py`: every one that there can be, or as many as one likes, drawn at random.

A sample is what an estimator is run on and what its advantages are turned into a gradient with. Forked groups are for
estimators that need them; the others get rollouts that are independent of one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.advantages.process import ACTIONS, STATES, TURNS, Floats, Ints, Process


@dataclass(frozen=True)
class Sample:
    """K groups of G trajectories of a process, and how much each group counts."""

    process: Process
    index: Ints
    """`[K, G]`: positions among the process's trajectories."""
    weight: Floats
    """`[K]`, summing to 1."""
    forked: bool = False
    """Whether the second half of each group was forked from the first half, after one turn."""

    @property
    def turn_rewards(self) -> Floats:
        found: Floats = self._at(self.process.rewards)
        return found

    @property
    def mask(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._at(self.process.exists)
        return found

    @property
    def group_ids(self) -> Ints:
        return np.repeat(np.arange(self.index.shape[0]), self.index.shape[1])

    @property
    def state_keys(self) -> Ints:
        """The world's own state: whether the fact is known. The turn is not part of it."""
        found: Ints = np.array([known for _, known in STATES]).astype(np.int64)[self._at(self.process.state)]
        return found

    @property
    def call_mask(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._at(self.process.action != ACTIONS.index("answer"))
        return found

    @property
    def values(self) -> Floats:
        """Exact values of the states of the turns."""
        found: Floats = self.process.values[self._at(self.process.state)]
        return found

    @property
    def coarse_values(self) -> Floats:
        """What a critic says that has learned the mean return and nothing else."""
        return np.full((self.index.size, TURNS), self.process.values[0])

    @property
    def parents(self) -> Ints:
        position = np.arange(self.index.size).reshape(self.index.shape)
        half = self.index.shape[1] // 2
        return np.concatenate([position[:, :half], position[:, :half]], axis=1).reshape(-1)

    @property
    def forked_at(self) -> Ints:
        half = self.index.shape[1] // 2
        return np.tile(np.repeat([0, 1], half), self.index.shape[0])

    def gradients(self, advantages: Floats) -> Floats:
        """`[K, parameters]`: (1/G) sum_i sum_t A_{i,t} grad log pi(a_{i,t} | s_{i,t}), from advantages `[K * G, T]`."""
        groups, size = self.index.shape
        by_rollout = advantages.reshape(groups, size, TURNS)
        found = np.zeros((groups, self.process.score.shape[-1]))
        for i in range(size):
            for t in range(TURNS):
                found += by_rollout[:, i, t, None] * self.process.score[self.index[:, i], t]
        mean: Floats = found / size
        return mean

    def _at(self, of_trajectory: NDArray[Any]) -> Any:
        return of_trajectory[self.index.reshape(-1)]


def every_group(process: Process, size: int) -> Sample:
    """Every group of that size that there can be, with its probability; order within a group does not matter."""
    index = np.array(list(combinations_with_replacement(range(len(process.probability)), size)))
    orders = np.full(len(index), float(factorial(size)))
    # size! over the factorials of how often each trajectory occurs: a run of n equal ones contributes 1 * 2 * ... * n.
    run = np.ones(len(index))
    for i in range(1, size):
        run = np.where(index[:, i] == index[:, i - 1], run + 1, 1)
        orders /= run
    return Sample(process, index, orders * process.probability[index].prod(axis=1))


def drawn_groups(process: Process, groups: int, size: int, seed: int = 0) -> Sample:
    """Groups drawn at random from the policy."""
    random = np.random.default_rng(seed)
    index = random.choice(len(process.probability), p=process.probability, size=(groups, size))
    return Sample(process, index, np.full(groups, 1.0 / groups))


def every_forked_group(process: Process) -> Sample:
    """Every group of two rollouts and a fork of each, made after its first turn."""
    pairs = np.argwhere(process.first[:, None] == process.first)
    chance = process.probability[pairs].prod(axis=1) / _of_first(process)[pairs[:, 0]]
    first, second = (side.reshape(-1) for side in np.indices((len(pairs), len(pairs))))
    keep = first <= second  # the two pairs may be swapped
    first, second = first[keep], second[keep]
    index = np.stack([pairs[first, 0], pairs[second, 0], pairs[first, 1], pairs[second, 1]], axis=1)
    weight = chance[first] * chance[second] * np.where(first == second, 1.0, 2.0)
    return Sample(process, index, weight, forked=True)


def drawn_forked_groups(process: Process, groups: int, seed: int = 0) -> Sample:
    """Two rollouts and a fork of each, drawn at random."""
    random = np.random.default_rng(seed)
    roots = random.choice(len(process.probability), p=process.probability, size=(groups, 2))
    # A fork goes on as the policy does: a trajectory drawn among those that begin alike.
    upto = np.cumsum(process.probability * (process.first[:, None] == process.first), axis=1)
    drawn = random.random((groups, 2)) * upto[roots, -1]
    forks = (upto[roots] <= drawn[..., None]).sum(axis=-1)
    return Sample(process, np.concatenate([roots, forks], axis=1), np.full(groups, 1.0 / groups), forked=True)


def _of_first(process: Process) -> Floats:
    """`[M]`: probability of what happened in a trajectory's first turn."""
    by_start: Floats = np.bincount(process.first, weights=process.probability).astype(np.float64)
    return by_start[process.first]
