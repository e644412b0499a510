"""One advantage per turn from discounted returns alone: `turn` compares turns of the same index, `gtpo` all of them.

R_{i,t} = sum over the turns k >= t of rollout i of gamma^(k-t) r_{i,k}: what is earned from turn t on.
"""

from __future__ import annotations

from typing import Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Singleton


def turn(
    turn_rewards: Turns,
    group_ids: Rollouts,
    gamma: float = 0.9,
    ddof: int = 1,
    singleton: Singleton = "raw",
    **masks: Unpack[Masks],
) -> Turns:
    """z-score of the discounted return among the rollouts that reach the same turn index.

    A_{i,t} = (R_{i,t} - mean_j R_{j,t}) / (std_j R_{j,t} + 1e-6), over the rollouts j of the group that have a turn t.
    The local half of MatchTIR (arXiv 2601.10712, eqs 10-11).

    Biased: by the deviation, as `grpo`; by discounting, when gamma < 1; and by its peers, because who reaches turn t
    includes oneself: with n of them the signal is shrunk by (n - 1) / n, more at late turns than at early ones, and a
    turn that nobody else reaches keeps its whole return under `raw`, which pushes the longest rollout up whenever
    rewards are positive. A policy that decides when to stop is so rewarded or punished for its length.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        gamma: Discount per turn, in [0, 1].
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a turn that no other rollout reaches: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    return batch.write(batch.by_turn.compare(batch.returns(gamma), "std", ddof=ddof, singleton=singleton))


def gtpo(
    turn_rewards: Turns,
    group_ids: Rollouts,
    gamma: float = 0.9,
    ddof: int = 1,
    singleton: Singleton = "raw",
    **masks: Unpack[Masks],
) -> Turns:
    """z-score of the discounted return among all turns of the group, whatever their index.

    A_{i,t} = (R_{i,t} - mean) / (std + 1e-6), both over every turn (j, k) of the group. Group turn policy optimisation
    (arXiv 2511.14846) takes normalised discounted returns for advantages; over which turns it normalises we could not
    verify. Here: all of the group's. Over those of the same index it would be `turn`.

    Biased: long rollouts weigh more in the mean; what is left to earn usually shrinks with t, so that one mean for all
    turns credits early turns and blames late ones, whatever was done in them; and as `turn`, by deviation and gamma.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        gamma: Discount per turn, in [0, 1].
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group with a single turn in all: `raw`, its return; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    every = batch.pooled(batch.exists)
    return batch.write(every.compare(batch.returns(gamma), "std", ddof=ddof, singleton=singleton))
