"""One advantage for a whole rollout: its return R_i = sum of its turn rewards, against those of its group.

All three give every turn of a rollout the same number, so none can tell a good turn from a bad one.
"""

from __future__ import annotations

from typing import Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Singleton


def grpo(
    turn_rewards: Turns, group_ids: Rollouts, ddof: int = 1, singleton: Singleton = "raw", **masks: Unpack[Masks]
) -> Turns:
    """Group z-score of the return: A_{i,t} = (R_i - mean_j R_j) / (std_j R_j + 1e-6).

    Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300).

    Biased: dividing by the group's deviation weights tasks by how little their rollouts differ, and a rollout moves the
    deviation that it is divided by; the own return in the mean shrinks the gradient by (G - 1) / G.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group of one: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    return batch.write(batch.by_rollout.compare(batch.totals, "std", ddof=ddof, singleton=singleton)[:, None])


def dr_grpo(turn_rewards: Turns, group_ids: Rollouts, singleton: Singleton = "raw", **masks: Unpack[Masks]) -> Turns:
    """Return less the group's mean: A_{i,t} = R_i - mean_j R_j.

    GRPO "done right", without the deviation (arXiv 2503.20783).

    Unbiased up to a known factor: in groups of G it estimates (1 - 1/G) grad E[R], because the mean holds the own
    return. `rloo` is the same without the factor.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        singleton: For a group of one: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    return batch.write(batch.by_rollout.compare(batch.totals, singleton=singleton)[:, None])


def rloo(turn_rewards: Turns, group_ids: Rollouts, singleton: Singleton = "raw", **masks: Unpack[Masks]) -> Turns:
    """Return less the mean of the others: A_{i,t} = R_i - mean_{j != i} R_j.

    REINFORCE with a leave-one-out baseline (Kool et al. 2019; for language models arXiv 2402.14740).

    Unbiased for grad E[R]: the baseline depends on other rollouts only. A group of one has baseline 0 under `raw`,
    which keeps that, and is dropped under `zero`.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        singleton: For a group of one: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    return batch.write(batch.by_rollout.compare(batch.totals, "leave_one_out", singleton=singleton)[:, None])
