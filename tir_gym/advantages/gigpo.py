"""Turns compared with other turns taken in the same state: GiGPO."""

from __future__ import annotations

from typing import Literal, Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Scale, Singleton
from tir_gym.errors import UsageError


def gigpo(
    turn_rewards: Turns,
    group_ids: Rollouts,
    gamma: float = 0.95,
    weight: float = 1.0,
    scale: Literal["none", "std"] = "none",
    ddof: int = 1,
    singleton: Singleton = "zero",
    *,
    state_keys: Turns,
    **masks: Unpack[Masks],
) -> Turns:
    """Return against the group's, plus discounted return against those of all turns taken in the same state.

        A_{i,t} = F_j(R_i) + weight * F_{(j,k): s_{j,k} = s_{i,t}}(R_{i,t})

    with F(x) = x - mean, or (x - mean) / (std + 1e-6) under `scale="std"`. Group-in-group policy optimisation
    (arXiv 2505.10978). The state of a turn is the one in which it was taken, before its calls; a state's digest
    (`sandbox.digest()`) makes an exact key.

    Biased: with n turns in a state the signal there is shrunk by (n - 1) / n, so that rare states count less; a rollout
    that comes back to a state is compared with its own later self; and by discounting when gamma < 1.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        gamma: Discount per turn, in [0, 1].
        weight: Of the second term.
        scale: Whether to divide by the standard deviations.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group of one and for a state met once: `zero`, nothing; `raw`, the return.
        state_keys: The state of each turn: a list of lists, or an array `[N, T]`, of integers, strings or anything
            hashable.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    if scale not in ("none", "std"):
        raise UsageError(f"scale must be 'none' or 'std', got {scale!r}")
    by: Scale = scale
    batch = Batch(turn_rewards, group_ids, **masks)
    rollout = batch.by_rollout.compare(batch.totals, by, ddof=ddof, singleton=singleton)
    states = batch.by_key(state_keys, "state_keys")
    step = states.compare(batch.returns(gamma), by, ddof=ddof, singleton=singleton)
    return batch.write(rollout[:, None] + weight * step)
