"""The record of a rollout in tokens: what stood before each turn, what was sampled, and what it was paid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, model_validator

from tir_gym.errors import UsageError
from tir_gym.records import Json, Record
from tir_gym.rollout.flat import Flat, flatten

TRAJECTORY_VERSION = 1
"""Version of the format; a reader refuses a newer one."""


def as_ids(values: Any) -> NDArray[np.int32]:
    """Token ids as an array of their own that cannot be written to.

    Raises:
        ValueError: Not a flat sequence of whole numbers in [0, 2**31).
    """
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"token ids are a flat sequence of whole numbers, got shape {array.shape} of {array.dtype}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < 2**31:
        raise ValueError(f"token ids lie in [0, 2**31), got {array.min()} to {array.max()}")
    return _frozen(array.astype(np.int32))


def as_logprobs(values: Any) -> NDArray[np.float32]:
    """Log-probabilities as an array of their own that cannot be written to.

    Raises:
        ValueError: Not a flat sequence of finite numbers.
    """
    array = np.array(values, dtype=np.float32)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("log-probabilities are a flat sequence of finite numbers: each token was in fact sampled")
    return _frozen(array)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


_as_list = PlainSerializer(lambda array: array.tolist(), return_type=list, when_used="json")
Ids: TypeAlias = Annotated[NDArray[np.int32], PlainValidator(as_ids), _as_list]
Logprobs: TypeAlias = Annotated[NDArray[np.float32], PlainValidator(as_logprobs), _as_list]


class TokenTurn(Record):
    """One turn: S tokens sampled after C tokens of context."""

    model_config = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)

    context_ids: Ids
    """`[C]` int32, C >= 1: the tokens between the end of the turn before and this one, or a whole prompt."""
    begins: bool = False
    """Whether `context_ids` is a whole prompt: in the first turn, and where history could not be kept as it was."""
    output_ids: Ids
    """`[S]` int32, S >= 1: the tokens as sampled, the one that ended the turn included."""
    logprobs: Logprobs
    """`[S]` float32: of each under the policy that sampled it."""
    weight_version: int = 0
    """Which weights sampled it: a trainer counts them up."""
    finish: Literal["stop", "length", "abort"] = "stop"
    """Why sampling ended: at a token that ends a turn, at a budget of tokens, or because it was broken off."""
    reward: float = 0.0
    parts: dict[str, float] = Field(default_factory=dict)
    """The reward's terms by name."""

    @model_validator(mode="after")
    def _tokens_and_logprobs_go_together(self) -> TokenTurn:
        if not len(self.context_ids) or not len(self.output_ids):
            raise ValueError(
                f"a turn has tokens before it and tokens of its own, got {len(self.context_ids)} and "
                f"{len(self.output_ids)}: without them, turns run into each other"
            )
        if len(self.logprobs) != len(self.output_ids):
            raise ValueError(f"{len(self.output_ids)} tokens were sampled, with {len(self.logprobs)} log-probabilities")
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenTurn) and all(
            np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs
            for mine, theirs in ((getattr(self, name), getattr(other, name)) for name in TokenTurn.model_fields)
        )

    __hash__ = None  # type: ignore[assignment]


class Trajectory(Record):
    """A rollout, finished. Goes through JSON without loss: `Trajectory.model_validate_json(t.model_dump_json()) == t`.

    A segment is a run of turns whose tokens are one sequence: each prompt begins with the one before it and what was
    sampled there. Most trajectories are one segment.
    """

    version: int = Field(default=TRAJECTORY_VERSION, le=TRAJECTORY_VERSION)
    task_id: str
    group_id: str | int
    """Which rollouts are compared with each other; as a rule those of one task."""
    turns: tuple[TokenTurn, ...] = ()
    """None where the rollout broke before its first turn."""
    success: bool | None = None
    ending: str | None = None
    """As in a `Trace`, or a word of the engine's own, such as `max_tokens`."""
    truncated: bool = False
    """Whether it ran into a budget."""
    infra_error: dict[str, Json] | None = None
    """What broke; such a rollout says nothing about the policy."""
    rollout: str | None = None
    """Its name among those of its group: `3` for a sample, `3.0` for the first fork of that one."""
    parent: str | None = None
    """The rollout of the group that it was forked from, if it was; see `tree_arguments`."""
    forked_at: int = Field(default=0, ge=0)
    """How many turns had been played then: they are the parent's too."""

    @model_validator(mode="after")
    def _begins_with_a_prompt(self) -> Trajectory:
        if self.turns and not self.turns[0].begins:
            raise ValueError("turns: the context of the first turn is a whole prompt, so it has begins=True")
        return self

    @property
    def turn_rewards(self) -> list[float]:
        """`T` floats."""
        return [turn.reward for turn in self.turns]

    @property
    def sampled(self) -> int:
        """Number of tokens sampled."""
        return sum(len(turn.output_ids) for turn in self.turns)

    def flats(self) -> tuple[Flat, ...]:
        """The arrays of each segment, in order; none for a trajectory without turns."""
        starts = [i for i, turn in enumerate(self.turns) if turn.begins]
        return tuple(flatten(self.turns[i:j], i) for i, j in pairwise([*starts, len(self.turns)]))

    def flat(self) -> Flat:
        """The arrays of a trajectory that is one segment.

        Raises:
            UsageError: It has several segments, or no turn.
        """
        found = self.flats()
        if len(found) != 1:
            raise UsageError(
                f"the trajectory of task {self.task_id} has {len(found)} segments; flats() gives the arrays of each"
            )
        return found[0]

    def with_rewards(self, rewards: Sequence[float]) -> Trajectory:
        """The same tokens paid otherwise, as in hindsight (`info["turn_rewards"]`); the parts are left out.

        Args:
            rewards: One number per turn.

        Raises:
            UsageError: There are not as many rewards as turns.
            ValueError: One is not finite.
        """
        if len(rewards) != len(self.turns):
            raise UsageError(f"{len(rewards)} rewards for {len(self.turns)} turns; give one per turn")
        turns = tuple(
            TokenTurn.model_validate({**dict(turn), "reward": reward, "parts": {}})
            for turn, reward in zip(self.turns, rewards, strict=True)
        )
        return self.model_copy(update={"turns": turns})
