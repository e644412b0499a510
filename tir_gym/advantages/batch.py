"""Reading what an estimator is given, and giving back what it found in the same form.

Every estimator takes turn rewards and group ids, and four masks that are separate things (`Masks`). `Batch` checks
them and lays them out as arrays `[N, T]`; whatever it refuses is the caller's misuse, a `UsageError` that names the
argument, the place and the fix. What is computed over groups is in `groups.py`.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np

from tir_gym.advantages.arrays import Array, Arrays, arrays_for
from tir_gym.advantages.groups import Groups
from tir_gym.advantages.reading import is_array, number, pad, pad_keys, unpad
from tir_gym.errors import UsageError

Turns: TypeAlias = Any
"""One value per turn: a list with one list per rollout, as long as it has turns; or a NumPy array or torch tensor
`[N, T]`."""

Rollouts: TypeAlias = Any
"""One value per rollout: a sequence or an array `[N]`."""


class Masks(TypedDict, total=False):
    """The masks that every estimator takes, by keyword. They answer different questions, so none stands for another.

    That tool output is attended to and never trained on is a matter of tokens, see `to_tokens`.
    """

    mask: Turns
    """`[N, T]`: which turns exist, true up to a rollout's last one. Default: all, for lists as many as they hold. A
    rollout without turns is in no statistic."""
    trained: Turns
    """`[N, T]`: which turns the loss is taken over. The others count in returns and statistics; their advantage is
    0."""
    truncated: Rollouts
    """`[N]`: rollouts that ran into a budget, to be left out of the loss. They count in statistics; their advantage
    is 0. Leaving them out is a bias of its own: no policy is then told that it took too long."""
    infra: Rollouts
    """`[N]`: rollouts that the infrastructure broke. They are in no statistic, their advantage is 0, and their
    rewards may be anything."""


class Batch:
    """The turn rewards of N rollouts with their masks.

    Args:
        turn_rewards: The reward of each turn.
        group_ids: `[N]`: which rollouts are compared; integers, strings, or anything hashable.
        masks: See `Masks`.

    Attributes:
        arrays: The library to compute with.
        rewards: `[N, T]`, 0 where there is no turn.
        exists: `[N, T]`: which turns there are, those of broken rollouts aside.
        group: `[N]`: the rollout's group, an integer in `[0, groups)`.

    Raises:
        UsageError: A shape does not fit, a mask has a hole, or the reward of a turn is not finite.
    """

    def __init__(self, turn_rewards: Turns, group_ids: Rollouts, **masks: Unpack[Masks]) -> None:
        unknown = sorted(masks.keys() - Masks.__annotations__.keys())
        if unknown:
            raise UsageError(f"no option {unknown[0]!r}; every estimator takes {', '.join(Masks.__annotations__)}")
        self.arrays: Arrays = arrays_for(turn_rewards)
        self.xp = self.arrays.xp
        self._lengths: Any = None  # of the lists given
        if is_array(turn_rewards):
            rewards = self._numbers(turn_rewards, "turn_rewards")
            if rewards.ndim != 2 or rewards.shape[1] == 0:
                raise UsageError(
                    f"turn_rewards must be [rollouts, turns] with at least one turn, got shape {tuple(rewards.shape)}"
                )
            self.exists: Array = self.xp.ones_like(rewards) > 0
        else:
            rewards, self._lengths = pad(turn_rewards, "turn_rewards")
            self.exists = self.arrays.upto(rewards.shape[1]) < self._lengths[:, None]
        self.shape = (int(rewards.shape[0]), int(rewards.shape[1]))
        if masks.get("mask") is not None:
            self.exists = self.exists & self.flags(masks["mask"], "mask")
            self._refuse_holes()
        if masks.get("infra") is not None:
            self.exists = self.exists & ~self.arrays.flags(self.per_rollout(masks["infra"], "infra"))[:, None]
        self.rewards: Array = self.finite(rewards, "turn_rewards")
        self.group: Array = self.arrays.integers(number(self.per_rollout(group_ids, "group_ids"), "group_ids"))
        self.groups = int(self.group.max()) + 1 if self.shape[0] else 0
        self._trained = self.exists
        if masks.get("trained") is not None:
            self._trained = self._trained & self.flags(masks["trained"], "trained")
        if masks.get("truncated") is not None:
            cut = self.arrays.flags(self.per_rollout(masks["truncated"], "truncated"))
            self._trained = self._trained & ~cut[:, None]

    def returns(self, gamma: float) -> Array:
        """`[N, T]`: R_{i,t}, the sum over the turns k from t on of gamma^(k-t) r_{i,k}.

        Raises:
            UsageError: gamma lies outside [0, 1].
        """
        return self.accumulate(self.rewards, unit(gamma, "gamma"))

    @cached_property
    def totals(self) -> Array:
        """`[N]`: R_i, the sum of a rollout's turn rewards."""
        # Added turn by turn, so that equal rows have equal sums to the last bit in either library.
        return self.returns(1.0)[:, 0]

    def accumulate(self, values: Array, decay: float) -> Array:
        """`[N, T]`: at each turn its value, plus `decay` times what the next turn accumulated."""
        later = self.xp.zeros_like(values[:, 0])
        columns = []
        for t in reversed(range(self.shape[1])):
            later = values[:, t] + decay * later
            columns.append(later)
        return self.xp.stack(columns[::-1], 1)

    @cached_property
    def last(self) -> Array:
        """`[N, T]`: whether the turn is its rollout's last."""
        after = self.xp.zeros_like(self.exists)
        after[:, :-1] = self.exists[:, 1:]
        return self.exists & ~after

    @cached_property
    def by_rollout(self) -> Groups:
        """Over `[N]`: rollouts with those of their group."""
        return Groups(self.arrays, self.group, self.groups, self.exists[:, 0])

    @cached_property
    def by_turn(self) -> Groups:
        """Over `[N, T]`: turns with those of the same index, in the rollouts of their group that reach it."""
        return self.by_index(self.exists)

    def by_index(self, among: Array) -> Groups:
        """As `by_turn`, among some of the turns that exist."""
        turns = self.shape[1]
        code = self.group[:, None] * turns + self.arrays.upto(turns)
        return Groups(self.arrays, code, self.groups * turns, among & self.exists)

    def pooled(self, among: Array) -> Groups:
        """Over `[N, T]`: turns with all turns of their group, of whatever index, among some of those that exist."""
        code = self.group[:, None] + self.xp.zeros_like(self.exists)
        return Groups(self.arrays, code, self.groups, among & self.exists)

    def by_key(self, keys: Turns, name: str) -> Groups:
        """Over `[N, T]`: turns with those of their group that have an equal key."""
        if is_array(keys):
            self._refuse_shape(keys, name)
            code = self.arrays.integers(number(keys, name))
        else:
            code = self._filled(*pad_keys(keys, name), name)
        code = self.group[:, None] * (int(code.max()) + 1 if self.shape[0] else 1) + code
        return Groups(self.arrays, number(code, name), self.shape[0] * self.shape[1], self.exists)

    def per_turn(self, values: Turns, name: str) -> Array:
        """An argument with one finite number per turn, as `[N, T]`; 0 where there is no turn.

        Raises:
            UsageError: Its shape is not that of the turn rewards, or a number is not finite.
        """
        return self.finite(self._rectangle(values, name), name)

    def flags(self, values: Turns, name: str) -> Array:
        """An argument with one truth value per turn, as `[N, T]`.

        Raises:
            UsageError: Its shape is not that of the turn rewards.
        """
        return self.arrays.flags(self._rectangle(values, name))

    def per_rollout(self, values: Rollouts, name: str) -> Any:
        """An argument with one value per rollout, as it is.

        Raises:
            UsageError: It does not have one value per rollout.
        """
        if is_array(values):
            fits, got = tuple(values.shape) == (self.shape[0],), f"shape {tuple(values.shape)}"
        elif isinstance(values, str) or not hasattr(values, "__len__"):
            fits, got = False, repr(values)
        else:
            fits, got = len(values) == self.shape[0], f"{len(values)} values"
        if not fits:
            raise UsageError(f"{name} must hold one value for each of the {self.shape[0]} rollouts, got {got}")
        return values

    def per_rollout_number(self, values: Rollouts, name: str) -> Array:
        """An argument with one finite number per rollout, as `[N]`; 0 where a rollout has no turn.

        Raises:
            UsageError: It does not have one value per rollout, or one is not finite.
        """
        numbers = self._numbers(self.per_rollout(values, name), name)[:, None]
        return self.finite(numbers + self.xp.zeros_like(self.rewards), name)[:, 0]

    def masked(self, advantages: Array) -> Array:
        """Advantages `[N, T]`, or `[N, 1]` for all turns of a rollout, as `[N, T]`: 0 where there is no turn or none
        that is trained."""
        return self.xp.where(self._trained, advantages, 0.0)

    def write(self, advantages: Array) -> Turns:
        """As `masked`, in the form in which the rewards came."""
        found = self.masked(advantages)
        return self.arrays.result(found) if self._lengths is None else unpad(found, self._lengths)

    def finite(self, values: Array, name: str) -> Array:
        """Numbers `[N, T]`, 0 where there is no turn.

        Raises:
            UsageError: One of a turn that exists is not finite.
        """
        bad = self.exists & ~self.xp.isfinite(values)
        if bool(bad.any()):
            rollout, turn = (int(where[0]) for where in self.xp.where(bad))
            raise UsageError(
                f"{name}: rollout {rollout}, turn {turn} is {float(values[rollout, turn])}; every turn needs a finite "
                "number. Turns that do not exist belong in `mask`, rollouts that the infrastructure broke in `infra`"
            )
        return self.xp.where(self.exists, values, 0.0)

    def _numbers(self, values: Any, name: str) -> Array:
        try:
            return self.arrays.real(values)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} must hold numbers: {error}") from error

    def _rectangle(self, values: Turns, name: str) -> Array:
        if is_array(values):
            self._refuse_shape(values, name)
            return self._numbers(values, name)
        return self.arrays.real(self._filled(*pad(values, name), name))

    def _filled(self, rows: Array, lengths: Any, name: str) -> Array:
        """Padded rows, made as wide as the rewards."""
        wanted = np.full(self.shape[0], self.shape[1]) if self._lengths is None else self._lengths
        if len(lengths) != self.shape[0]:
            raise UsageError(f"{name} must have one row for each of the {self.shape[0]} rollouts, got {len(lengths)}")
        if (lengths != wanted).any():
            row = int((lengths != wanted).argmax())
            raise UsageError(
                f"{name}: rollout {row} has {lengths[row]} turns, and {wanted[row]} in turn_rewards; they must agree"
            )
        return self.arrays.integers(rows) if rows.dtype.kind == "i" else rows

    def _refuse_shape(self, values: Array, name: str) -> None:
        if tuple(values.shape) != self.shape:
            raise UsageError(f"{name} must have the shape of turn_rewards, {self.shape}, got {tuple(values.shape)}")

    def _refuse_holes(self) -> None:
        holes = ~self.exists[:, :-1] & self.exists[:, 1:]
        if bool(holes.any()):
            rollout, turn = (int(where[0]) for where in self.xp.where(holes))
            raise UsageError(
                f"mask: rollout {rollout} has no turn {turn} and yet a turn {turn + 1}; a mask says which turns exist, "
                "so it is true up to the rollout's last one. To leave turns out of the loss, give `trained`"
            )


def unit(value: float, name: str) -> float:
    """A factor in [0, 1].

    Raises:
        UsageError: It is not.
    """
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"{name} must lie in [0, 1], got {value!r}")
    return float(value)
