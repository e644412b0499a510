"""What a rollout asks of a policy: tokens after tokens, with the log-probability of each.

This is the contract between whoever plays episodes and whatever samples: a model in this process, vLLM, a server. No
engine is in here; they are agents (`tir_gym.agents.engines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SamplingParams:
    """How to sample one turn."""

    max_tokens: int = 256
    """Tokens of one turn at most, at least 1."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_p: float = 1.0
    """The likeliest tokens that together have this probability, and no others; in (0, 1]."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end the turn; the one sampled is part of the output."""
    seed: int | None = None
    """Of the turn's own random numbers. With the same seed, prompt, parameters and weights the tokens are the same,
    whatever else is sampled beside them, where the engine says that it is `deterministic`."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: a turn has at least one token")
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature}: it is 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: it lies in (0, 1]")


@dataclass(frozen=True, eq=False)
class TokenOutput:
    """One turn as sampled."""

    ids: NDArray[np.int32]
    """`[S]`, S >= 1: the stop token included."""
    logprobs: NDArray[np.float32]
    """`[S]`: of each under softmax(logits / temperature), all tokens considered whatever `top_p` left out; under
    softmax(logits) where the temperature is 0."""
    finish: Literal["stop", "length", "abort"]
    """Why it ended: at a stop token, at `max_tokens` or the end of the model's context, or because it was broken off.
    """
    weight_version: int
    """Which weights sampled its last token."""


class Policy(Protocol):
    """Samples turns. Many calls are under way at the same time; an engine batches them as it can."""

    async def generate(
        self, prompt_ids: Sequence[int] | NDArray[np.int32], params: SamplingParams, *, key: str | None = None
    ) -> TokenOutput:
        """Sample one turn.

        Args:
            prompt_ids: `[P]`: everything before the turn, P >= 1.
            params: How.
            key: Names the rollout, so that an engine finds what it kept of the turn before (a cache of keys and values,
                the server that has it). Calls of one key never overlap. Any string; no key, nothing kept.

        Raises:
            ContextFull: The prompt fills the model's whole context.
            UsageError: It is empty, or the engine refuses what it is asked.
            InfrastructureError: The engine broke or cannot be reached; the rollout says nothing about the policy.
        """

    def release(self, key: str) -> None:
        """Let go of what was kept for a rollout that has ended. Unknown keys are none's business."""
