"""A trajectory while it is made: tokens are appended, and nothing else can be done to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tir_gym.errors import UsageError
from tir_gym.records import Json
from tir_gym.rollout.prompt import Context
from tir_gym.rollout.trajectory import TokenTurn, Trajectory, as_ids


class Recording:
    """Keeps what a policy was given and what it sampled, in the order: context, output, context, output, ...

    Args:
        task_id: The task.
        group_id: Which rollouts it will be compared with.
    """

    def __init__(self, task_id: str, group_id: str | int) -> None:
        self._task_id = task_id
        self._group_id = group_id
        self._turns: list[TokenTurn] = []
        self._context: Context | None = None

    @property
    def prompt_ids(self) -> NDArray[np.int32]:
        """`[L]`: all tokens of the segment so far: what a policy is to go on from.

        Raises:
            UsageError: The context of the next turn is not known yet.
        """
        context = self._pending()
        pieces = [context.ids]
        if not context.begins:
            for turn in reversed(self._turns):
                pieces += [turn.output_ids, turn.context_ids]
                if turn.begins:
                    break
        return np.concatenate(pieces[::-1])

    def extend(self, context: Context) -> NDArray[np.int32]:
        """Append what stands before the next turn, and get the whole prompt.

        Raises:
            UsageError: A turn is due, or the first context is no whole prompt.
            ValueError: It holds something other than token ids.
        """
        if self._context is not None:
            raise UsageError("extend() twice: add() the turn that was sampled after the last context first")
        if not self._turns and not context.begins:
            raise UsageError("the first context must be a whole prompt; see ChatPrompt.begin")
        self._context = Context(as_ids(context.ids), context.begins)  # its own, whatever becomes of the array given
        return self.prompt_ids

    def add(
        self,
        output_ids: Any,
        logprobs: Any,
        *,
        reward: float,
        parts: Mapping[str, float] | None = None,
        weight_version: int = 0,
        finish: Literal["stop", "length", "abort"] = "stop",
    ) -> None:
        """Append the turn that was sampled, with what the environment paid for it. For the arguments see `TokenTurn`.

        Raises:
            UsageError: No context was given for it.
            ValueError: Tokens and log-probabilities do not go together, or a number is not finite.
        """
        context = self._pending()
        turn = TokenTurn(
            context_ids=context.ids,
            begins=context.begins,
            output_ids=output_ids,
            logprobs=logprobs,
            weight_version=weight_version,
            finish=finish,
            reward=reward,
            parts=dict(parts or {}),
        )
        self._turns.append(turn)
        self._context = None

    def finish(
        self,
        *,
        success: bool | None = None,
        ending: str | None = None,
        truncated: bool = False,
        infra_error: dict[str, Json] | None = None,
        rollout: str | None = None,
        parent: str | None = None,
        forked_at: int = 0,
    ) -> Trajectory:
        """The trajectory; a context that no turn followed is no part of it. For the arguments see `Trajectory`."""
        return Trajectory(
            task_id=self._task_id,
            group_id=self._group_id,
            turns=tuple(self._turns),
            success=success,
            ending=ending,
            truncated=truncated,
            infra_error=infra_error,
            rollout=rollout,
            parent=parent,
            forked_at=forked_at,
        )

    def fork(self) -> Recording:
        """An independent recording that begins with the same tokens; costs no copy of them."""
        twin = Recording(self._task_id, self._group_id)
        twin._turns = list(self._turns)
        twin._context = self._context
        return twin

    def _pending(self) -> Context:
        if self._context is None:
            raise UsageError("no context for the next turn; extend() with what the environment said first")
        return self._context
