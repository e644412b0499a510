"""From one advantage per turn to one per token."""

from __future__ import annotations

from typing import Any

import numpy as np

from tir_gym.advantages.arrays import Array, Arrays, NumPy, Torch, is_tensor
from tir_gym.advantages.batch import Turns
from tir_gym.advantages.reading import is_array, pad, unpad
from tir_gym.errors import UsageError


def to_tokens(advantages: Turns, turn_of_token: Turns) -> Turns:
    """The advantage of the turn that each token belongs to; 0 for a token that belongs to none.

    A token that the policy did not write (the prompt, a tool's output, the user's reply, padding) has turn -1 and
    advantage 0. Keep it in the attention mask all the same: it is what the policy saw.

    Costs one pass over the tokens plus work per run of tokens of one turn, so it is about as fast as `cumsum`.

    Args:
        advantages: One per turn: an array `[N, T]`, or a list with one list per rollout.
        turn_of_token: Integers in `[-1, T)`: an array `[N, L]`, or a list with one list per rollout.

    Returns:
        One advantage per token, in the form of `turn_of_token` and the float type of `advantages`; a tensor if either
        is one.

    Raises:
        UsageError: The numbers of rollouts differ, or a token belongs to a turn that there is not.
    """
    tokens = Tokens(turn_of_token, advantages)
    if is_array(advantages):
        return tokens.write(tokens.spread(advantages))
    padded, lengths = pad(advantages, "advantages")
    return tokens.write(tokens.spread(padded, lengths))


class Tokens:
    """Which turn each token belongs to.

    Tokens of one turn stand together, so everything is done once per run of tokens, not once per token.

    Args:
        turn_of_token: See `to_tokens`.
        like: Decides the library and the float type: advantages or rewards.

    Raises:
        UsageError: Not integers, one row per rollout.
    """

    def __init__(self, turn_of_token: Turns, like: Turns) -> None:
        self._lengths: Any = None  # of the lists given
        if not is_array(turn_of_token):
            padded, self._lengths = pad(turn_of_token, "turn_of_token", fill=-1)
            turn_of_token = padded.astype(np.int64)
        self.arrays: Arrays
        if is_tensor(like) or is_tensor(turn_of_token):
            self.arrays = Torch(like if is_tensor(like) else turn_of_token)
        else:
            self.arrays = NumPy(like.dtype if is_array(like) else np.float64)
        turn = self.arrays.placed(turn_of_token)
        if turn.ndim != 2 or not self.arrays.whole(turn):
            raise UsageError(
                f"turn_of_token must be integers [rollouts, tokens], got shape {tuple(turn.shape)} of {turn.dtype}"
            )
        self._turn: Array = turn

    def only(self, chosen: Turns) -> Tokens:
        """The same tokens, but those not chosen belong to no turn.

        Raises:
            UsageError: Not one truth value per token.
        """
        flags = chosen if is_array(chosen) else pad(chosen, "call_mask")[0]
        if tuple(flags.shape) != tuple(self._turn.shape):
            raise UsageError(
                f"call_mask must have the shape of turn_of_token, {tuple(self._turn.shape)}, got {tuple(flags.shape)}"
            )
        return Tokens(self.arrays.xp.where(self.arrays.flags(flags), self._turn, -1), self.arrays.result(0.0))

    def turns(self, shape: tuple[int, int]) -> Array:
        """`shape`, which is `[N, T]`: whether a turn has tokens.

        Raises:
            UsageError: See `to_tokens`.
        """
        _, rollout, turn = self._runs(shape)
        ours = turn >= 0
        found = self.arrays.xp.zeros_like(self.arrays.upto(shape[0] * shape[1])) > 0
        found[(rollout * shape[1] + turn)[ours]] = True
        return found.reshape(shape)

    def spread(self, advantages: Array, lengths: Array | None = None) -> Array:
        """`[N, L]`: advantages `[N, T]` at the tokens of their turns.

        Raises:
            UsageError: See `to_tokens`.
        """
        advantages = self.arrays.result(advantages)
        starts, rollout, turn = self._runs(tuple(advantages.shape), lengths)
        ours = turn >= 0
        found = advantages[rollout, self.arrays.xp.where(ours, turn, 0)]
        found = self.arrays.xp.where(ours, found, self.arrays.xp.zeros_like(found))
        rows, width = self._turn.shape
        return self.arrays.repeat(found, starts, rows * width).reshape(rows, width)

    def write(self, found: Array) -> Turns:
        """Advantages `[N, L]` in the form in which the turns came."""
        return unpad(found, self._lengths) if self._lengths is not None and isinstance(found, np.ndarray) else found

    def _runs(self, shape: tuple[int, ...], lengths: Array | None = None) -> tuple[Array, Array, Array]:
        """Of each run of tokens of one turn: its flat position, its rollout, its turn."""
        rows, width = self._turn.shape
        if len(shape) != 2 or shape[0] != rows:
            raise UsageError(
                f"advantages must be [rollouts, turns] for the {rows} rollouts of turn_of_token, got shape {shape}"
            )
        starts = self.arrays.starts(self._turn)
        rollout = starts // max(1, width)
        turn = self.arrays.integers(self._turn.reshape(-1)[starts])
        beyond = turn >= (shape[1] if lengths is None else self.arrays.integers(lengths)[rollout])
        if bool(beyond.any()):
            run = int(self.arrays.xp.where(beyond)[0][0])
            raise UsageError(
                f"turn_of_token: token {int(starts[run] % width)} of rollout {int(rollout[run])} belongs to turn "
                f"{int(turn[run])}, for which there is no advantage"
            )
        return starts, rollout, turn
