"""A small tool-use decision process whose policy gradient is known exactly, to hold estimators against.

An agent has three turns to find a fact and say it. In each it may `search`, which finds the fact more often than not,
call some `other` tool, which is no use, or `answer`, which ends the episode: well if the fact is known by then, badly
if not. So the policy decides when to stop, and every quantity of interest is a finite sum: there are 32 trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TURNS = 3
ACTIONS = ("search", "other", "answer")
STATES = ((0, False), (1, False), (1, True), (2, False), (2, True))
"""`(turn, whether the fact is known)`: what the policy sees."""

LOGITS = np.array([[0.2, 0.0, -0.4], [0.4, -0.2, 0.0], [-0.3, 0.1, 0.5], [0.3, 0.0, 0.2], [0.0, -0.2, 0.6]])
"""The policy under which biases are measured: `[state, action]`, undecided enough for every path to be walked."""

FINDS = 0.6
"""Chance that a search finds the fact."""
FIND_REWARD = 1.0
USELESS_REWARD = -0.1
"""For another tool, and for a search when the fact is known. A search that finds nothing earns 0."""
ANSWER_REWARD = 1.0
"""For an answer when the fact is known; else 0."""


@dataclass(frozen=True)
class Process:
    """Every trajectory of the process under a softmax policy.

    Args:
        logits: `[state, action]`, the policy's parameters.
    """

    logits: Floats

    @cached_property
    def policy(self) -> Floats:
        """`[state, action]`: probabilities."""
        weights = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        found: Floats = weights / weights.sum(axis=1, keepdims=True)
        return found

    @cached_property
    def values(self) -> Floats:
        """`[state]`: expected sum of the rewards from there on, by dynamic programming."""
        found = np.zeros(len(STATES))
        for state in reversed(range(len(STATES))):
            for action in range(len(ACTIONS)):
                for chance, reward, after in _outcomes(state, action):
                    later = 0.0 if after is None else found[after]
                    found[state] += self.policy[state, action] * chance * (reward + later)
        return found

    @cached_property
    def paths(self) -> tuple[tuple[tuple[int, int, float, int], ...], ...]:
        """Each trajectory as its turns: `(state, action, reward, index of what the world did)`."""
        return tuple(_paths(0))

    @cached_property
    def probability(self) -> Floats:
        """`[M]`: of each trajectory."""
        found = np.ones(len(self.paths))
        for m, path in enumerate(self.paths):
            for state, action, _, outcome in path:
                found[m] *= self.policy[state, action] * _outcomes(state, action)[outcome][0]
        return found

    @cached_property
    def exists(self) -> NDArray[np.bool_]:
        """`[M, T]`: which turns a trajectory has."""
        lengths = np.array([len(path) for path in self.paths])
        return np.arange(TURNS) < lengths[:, None]

    @cached_property
    def state(self) -> Ints:
        """`[M, T]`: the state in which each turn was taken; 0 where there is none."""
        return self._by_turn(0).astype(np.int64)

    @cached_property
    def action(self) -> Ints:
        """`[M, T]`."""
        return self._by_turn(1).astype(np.int64)

    @cached_property
    def rewards(self) -> Floats:
        """`[M, T]`."""
        return self._by_turn(2)

    @cached_property
    def first(self) -> Ints:
        """`[M]`: a number for what happened in the first turn; trajectories that share it can fork after it."""
        return np.unique([path[0][1] * 2 + path[0][3] for path in self.paths], return_inverse=True)[1]

    @cached_property
    def score(self) -> Floats:
        """`[M, T, parameters]`: gradient of the log-probability of each turn's action."""
        found = np.zeros((*self.state.shape, *self.logits.shape))
        for m, path in enumerate(self.paths):
            for t, (state, action, _, _) in enumerate(path):
                found[m, t, state] = -self.policy[state]
                found[m, t, state, action] += 1.0
        return found.reshape(*self.state.shape, -1)

    def gradient(self, gamma: float = 1.0) -> Floats:
        """`[parameters]`: E[sum_t (sum_{k >= t} gamma^(k-t) r_k) grad log pi(a_t | s_t)], which at gamma = 1 is the
        gradient of the expected return."""
        discount = np.triu(gamma ** np.maximum(np.arange(TURNS) - np.arange(TURNS)[:, None], 0))
        returns = self.rewards @ discount.T
        found: Floats = np.einsum("m,mt,mtp->p", self.probability, returns, self.score)
        return found

    def _by_turn(self, field: int) -> Floats:
        found = np.zeros((len(self.paths), TURNS))
        for m, path in enumerate(self.paths):
            found[m, : len(path)] = [turn[field] for turn in path]
        return found


def _outcomes(state: int, action: int) -> list[tuple[float, float, int | None]]:
    """What the world may do: `(chance, reward, next state or None at the end)`."""
    turn, known = STATES[state]
    if ACTIONS[action] == "answer":
        return [(1.0, ANSWER_REWARD if known else 0.0, None)]

    def after(known: bool) -> int | None:
        return STATES.index((turn + 1, known)) if turn + 1 < TURNS else None

    if ACTIONS[action] == "other" or known:
        return [(1.0, USELESS_REWARD, after(known))]
    return [(FINDS, FIND_REWARD, after(True)), (1.0 - FINDS, 0.0, after(False))]


def _paths(state: int) -> list[tuple[tuple[int, int, float, int], ...]]:
    found: list[tuple[tuple[int, int, float, int], ...]] = []
    for action in range(len(ACTIONS)):
        for outcome, (_, reward, after) in enumerate(_outcomes(state, action)):
            turn = (state, action, reward, outcome)
            found += [(turn, *rest) for rest in _paths(after)] if after is not None else [(turn,)]
    return found
