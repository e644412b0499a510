"""The dual-level advantage of MatchTIR (arXiv 2601.10712): how good was the rollout, and how good was the turn.

`dual` is the paper's. `dual_loo` has the same two terms with baselines that leave the gradient unbiased.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Singleton
from tir_gym.errors import UsageError

Combine: TypeAlias = Literal["sum", "mean"]


def dual(
    turn_rewards: Turns,
    group_ids: Rollouts,
    gamma: float = 0.9,
    combine: Combine = "sum",
    ddof: int = 1,
    singleton: Singleton = "raw",
    **masks: Unpack[Masks],
) -> Turns:
    """Group z-score of the return, plus z-score of the discounted return among those that reach the same turn.

        R_i     = sum_t r_{i,t}                            R_{i,t} = sum_{k >= t} gamma^(k-t) r_{i,k}
        A_{i,t} = (R_i - mean_j R_j) / (std_j R_j + 1e-6)
                + (R_{i,t} - mean_j R_{j,t}) / (std_j R_{j,t} + 1e-6)

    with j over the rollouts of the group, in the second line those that have a turn t (MatchTIR eqs 10-11). The paper
    adds the two terms, its published code halves the sum: `combine`. That code takes the sample's deviation and treats
    a lone entry as if it had mean 0 and deviation 1: `ddof=1`, `singleton="raw"`.

    Biased: by all that `grpo` and `turn` are. At gamma = 1, and without the deviations and the own return in the
    means, it would estimate 2 grad E[R]; see `dual_loo`.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        gamma: Discount per turn, in [0, 1].
        combine: `sum` of the two terms, or their `mean`.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group of one and for a turn that no other rollout reaches: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    # MatchTIR eqs 10-11: the rollout against its group, and each turn against those that reach it.
    rollout = batch.by_rollout.compare(batch.totals, "std", ddof=ddof, singleton=singleton)
    turn = batch.by_turn.compare(batch.returns(gamma), "std", ddof=ddof, singleton=singleton)
    return batch.write(_share(combine) * (rollout[:, None] + turn))


def dual_loo(
    turn_rewards: Turns,
    group_ids: Rollouts,
    gamma: float = 0.9,
    combine: Combine = "sum",
    singleton: Singleton = "raw",
    **masks: Unpack[Masks],
) -> Turns:
    """`dual` without deviations and with leave-one-out means: the two levels of credit, and an unbiased gradient.

        A_{i,t} = R_i - mean_{j != i} R_j  +  R_{i,t} - mean_{j != i, j has a turn t} R_{j,t}

    Both baselines depend on other rollouts only. That the policy decides when to stop does no harm: whether rollout i
    has a turn t is settled by its actions before t, and who else has one by theirs, so the baseline that meets the
    action of turn t knows nothing of it. Where nobody else reaches turn t the baseline is 0 (`raw`), again whatever
    rollout i did; `zero` drops the turn instead, which weights turns by how often others reach them and is a bias.

    Unbiased, with singleton "raw": at gamma = 1 for 2 grad E[R] under `sum` and grad E[R] under `mean`. At gamma < 1
    the second term estimates, without bias, the policy gradient of discounted returns, which is not grad E[R].

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        gamma: Discount per turn, in [0, 1].
        combine: `sum` of the two terms, or their `mean`.
        singleton: For a group of one and for a turn that no other rollout reaches: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    rollout = batch.by_rollout.compare(batch.totals, "leave_one_out", singleton=singleton)
    turn = batch.by_turn.compare(batch.returns(gamma), "leave_one_out", singleton=singleton)
    return batch.write(_share(combine) * (rollout[:, None] + turn))


def _share(combine: Combine) -> float:
    if combine not in ("sum", "mean"):
        raise UsageError(f"combine must be 'sum' (the paper's) or 'mean' (its code's), got {combine!r}")
    return 1.0 if combine == "sum" else 0.5
