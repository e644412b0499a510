"""What every engine can do beside sampling: take new weights, score tokens, say how it is, be closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tir_gym.rollout import Policy

if TYPE_CHECKING:
    import torch

Weights: TypeAlias = "Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]]"
"""Parameters by the names of the model's `state_dict`."""


class Engine(Policy, Protocol):
    """A policy whose weights can be replaced, and held against those of a model (`parity.py`)."""

    @property
    def deterministic(self) -> bool:
        """Whether a turn's tokens depend on its prompt, parameters, seed and the weights alone."""

    @property
    def weight_version(self) -> int:
        """Of the weights that sample now."""

    async def logprobs(self, ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float32]:
        """Score given tokens with the weights that sample now.

        Args:
            ids: `[N]`, N >= 1, within the model's context.

        Returns:
            `[N]`: of each token after those before it, under softmax(logits); 0 for the first, which stands after none.

        Raises:
            UsageError: There are none, or more than the context holds.
            InfrastructureError: The engine broke or cannot be reached.
        """

    async def update(self, weights: Any, version: int) -> None:
        """Sample with other weights. What was kept for rollouts is dropped; turns under way go on, or end first.

        Args:
            weights: What the engine's own docstring says.
            version: Of the weights; every turn whose last token they sample carries it.
        """

    async def close(self) -> None:
        """End it. Turns under way are broken off with an `InfrastructureError`. Closing twice is closing once."""
