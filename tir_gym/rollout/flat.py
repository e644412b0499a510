"""A run of turns as the arrays of a training batch. Plain NumPy, so that any trainer can take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tir_gym.rollout.trajectory import TokenTurn


@dataclass(frozen=True, eq=False)
class Flat:
    """K turns as one sequence of P tokens of prompt and R tokens of response.

    The response holds what was sampled and, between the turns, what came back. All of it is attended to; the loss is
    taken over what was sampled.
    """

    prompt_ids: NDArray[np.int32]
    """`[P]`."""
    response_ids: NDArray[np.int32]
    """`[R]`; ends with the last sampled token."""
    loss_mask: NDArray[np.int32]
    """`[R]`: 1 where a token was sampled."""
    attention_mask: NDArray[np.int32]
    """`[P + R]`: all 1. Tool output stays what the policy saw, whatever the loss is taken over."""
    logprobs: NDArray[np.float32]
    """`[R]`: of the sampled tokens, 0 elsewhere."""
    token_rewards: NDArray[np.float32]
    """`[R]`: each turn's reward at its last sampled token, 0 elsewhere."""
    turn_of_token: NDArray[np.int32]
    """`[R]`: the turn of a sampled token, counted over the whole trajectory; -1 elsewhere. See `to_tokens`."""
    turn_spans: NDArray[np.int32]
    """`[K, 2]`: where in the response each turn's sampled tokens begin, and where they have ended."""
    turns: NDArray[np.int32]
    """`[K]`: number of each turn in the trajectory."""
    weight_versions: NDArray[np.int32]
    """`[K]`."""


def flatten(turns: Sequence[TokenTurn], first: int) -> Flat:
    """The arrays of one segment.

    Args:
        turns: At least one; the context of the first is the prompt, those of the others go between.
        first: Number of the first one in the trajectory.
    """
    # What follows the prompt: the first output, then by turns a context and an output.
    pieces = [turns[0].output_ids]
    for turn in turns[1:]:
        pieces += [turn.context_ids, turn.output_ids]
    ends = np.cumsum([len(piece) for piece in pieces])
    starts = ends - [len(piece) for piece in pieces]
    spans = np.stack([starts[::2], ends[::2]], axis=1).astype(np.int32)
    numbers = np.arange(first, first + len(turns), dtype=np.int32)
    response_ids = np.concatenate(pieces)
    turn_of_token = np.full(len(response_ids), -1, dtype=np.int32)
    logprobs = np.zeros(len(response_ids), dtype=np.float32)
    for number, turn, (start, end) in zip(numbers, turns, spans, strict=True):
        turn_of_token[start:end] = number
        logprobs[start:end] = turn.logprobs
    token_rewards = np.zeros(len(response_ids), dtype=np.float32)
    token_rewards[spans[:, 1] - 1] = [turn.reward for turn in turns]
    return Flat(
        prompt_ids=_copy(turns[0].context_ids),
        response_ids=response_ids,
        loss_mask=(turn_of_token >= 0).astype(np.int32),
        attention_mask=np.ones(len(turns[0].context_ids) + len(response_ids), dtype=np.int32),
        logprobs=logprobs,
        token_rewards=token_rewards,
        turn_of_token=turn_of_token,
        turn_spans=spans,
        turns=numbers,
        weight_versions=np.array([turn.weight_version for turn in turns], dtype=np.int32),
    )


def _copy(array: NDArray[Any]) -> NDArray[Any]:
    return array.copy()  # so that a trainer may write into any array it is given
