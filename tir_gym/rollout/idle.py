"""How much of the time an engine had nothing to sample: what a scheduler is there to keep low."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tir_gym.rollout.policy import Policy, SamplingParams, TokenOutput


class IdleMeter:
    """A `Policy` that samples as the one given, and counts seconds between its first turn and its last.

    Args:
        policy: What samples.
        clock: Seconds that only grow.
    """

    def __init__(self, policy: Policy, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._policy = policy
        self._clock = clock
        self._under_way = 0
        self._changed: float | None = None
        self.seconds = 0.0
        """From the first turn's begin to the last one's end."""
        self.idle_seconds = 0.0
        """Of them, those without a turn under way."""
        self.turn_seconds = 0.0
        """Sum over turns: divided by `seconds`, how many were under way on average."""

    @property
    def idle_fraction(self) -> float:
        """In [0, 1]; 0 before the first turn."""
        return self.idle_seconds / self.seconds if self.seconds else 0.0

    async def generate(
        self, prompt_ids: Sequence[int] | NDArray[np.int32], params: SamplingParams, *, key: str | None = None
    ) -> TokenOutput:
        """See `Policy.generate`."""
        self._count(+1)
        try:
            return await self._policy.generate(prompt_ids, params, key=key)
        finally:
            self._count(-1)

    def release(self, key: str) -> None:
        """See `Policy.release`."""
        self._policy.release(key)

    def _count(self, change: int) -> None:
        now = self._clock()
        if self._changed is not None:
            passed = now - self._changed
            self.seconds += passed
            self.turn_seconds += passed * self._under_way
            self.idle_seconds += passed if not self._under_way else 0.0
        self._changed = now
        self._under_way += change
