"""What a batch knows of each row of the cache, as arrays, so that a step handles all rows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tir_gym.agents.engines.batch import Turn

BLOCK = 64
"""Random numbers drawn ahead for a row."""


class Rows:
    """`count` rows of `columns` tokens. None at first."""

    def __init__(self) -> None:
        self.count = self.columns = 0
        self._begin_anew()

    def grow(self, count: int, columns: int) -> None:
        """More of both, or as many; what there is stays."""
        before, old, turns, keys = self.count, self._by_row(), self.turn_in, self.key_in
        self.count, self.columns = count, columns
        self._begin_anew()
        for new, values in zip(self._by_row(), old, strict=True):
            new[tuple(slice(size) for size in values.shape)] = values
        self.turn_in[:before], self.key_in[:before] = turns, keys

    def forget(self) -> None:
        """Nothing is in any row."""
        self._begin_anew()

    def swap(self, first: int, second: int) -> None:
        """Exchange two rows."""
        pair, swapped = [first, second], [second, first]
        for values in self._by_row():
            values[pair] = values[swapped]
        self.turn_in[first], self.turn_in[second] = self.turn_in[second], self.turn_in[first]
        self.key_in[first], self.key_in[second] = self.key_in[second], self.key_in[first]

    def _begin_anew(self) -> None:
        count, columns = self.count, self.columns
        self.held = np.zeros((count, columns), dtype=np.int32)
        """Tokens: the prompt and what was sampled after it."""
        self.logprobs = np.zeros((count, columns), dtype=np.float32)
        """Of those that were sampled."""
        self.uniforms = np.zeros((count, BLOCK))
        """Random numbers for the next tokens."""
        self.known = np.zeros(count, dtype=np.int64)
        """How many tokens there are."""
        self.length = np.zeros(count, dtype=np.int64)
        """Of how many there are keys and values."""
        self.begin = np.zeros(count, dtype=np.int64)
        """Tokens of the prompt."""
        self.limit = np.zeros(count, dtype=np.int64)
        """Tokens after which the turn ends."""
        self.temperature = np.ones(count, dtype=np.float32)
        self.top_p = np.ones(count, dtype=np.float32)
        self.stop_set = np.zeros(count, dtype=np.int64)
        """Which of the batch's sets of stop tokens."""
        self.epoch = np.zeros(count, dtype=np.int64)
        """Of the weights that the first keys and values were computed with."""
        self.used = np.full(count, -1, dtype=np.int64)
        """The step in which a rollout was last heard of; -1 where none has the row."""
        self.turn_in: list[Turn | None] = [None] * count
        self.key_in: list[str | None] = [None] * count

    def _by_row(self) -> list[NDArray[Any]]:
        return [
            *(self.held, self.logprobs, self.uniforms, self.known, self.length, self.begin, self.limit),
            *(self.temperature, self.top_p, self.stop_set, self.epoch, self.used),
        ]


def common_beginning(held: NDArray[np.int32], prompt: NDArray[np.int32]) -> NDArray[np.int64]:
    """How many tokens each row has in common with the beginning of the prompt: `[n, P]`, `[P]` -> `[n]`."""
    different = held[:, : len(prompt)] != prompt[: held.shape[1]]
    if not different.shape[1]:
        return np.zeros(len(held), dtype=np.int64)
    common: NDArray[np.int64] = np.where(different.any(1), different.argmax(1), different.shape[1])
    return common
