"""Turn rewards and outcome normalised apart, then added: MT-GRPO."""

from __future__ import annotations

from typing import Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Singleton


def mt_grpo(
    turn_rewards: Turns,
    group_ids: Rollouts,
    coef: float = 1.0,
    outcome: Rollouts | None = None,
    ddof: int = 1,
    singleton: Singleton = "raw",
    **masks: Unpack[Masks],
) -> Turns:
    """z-score of the outcome, plus for every turn but the last the z-score of its own reward at its index.

        A_{i,t} = z_j(O_i) + coef * z_j(r_{i,t})    for a turn before the last
        A_{i,t} = z_j(O_i)                          for the last

    with z(x) = (x - mean) / (std + 1e-6), the second over the rollouts of the group that have a turn t which is not
    their last. Turn-level credit assignment (arXiv 2505.11821), there for one tool turn and one answer; with two turns
    this is that, and with more the same rule at every index.

    Biased: by the deviations, as `grpo`; a turn gets no credit for the turn rewards that later turns earn because of
    it; and whether a turn gets the second term at all depends on whether it ends the rollout, which the policy decides,
    so that a call that earns less than the others' is worse than stopping, whatever it leads to.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        coef: Weight of the turn's own reward.
        outcome: `[N]`, the outcome rewards O_i. Default: the reward of each rollout's last turn.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group of one and for a turn without peer: `raw`, its reward; `zero`, nothing.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    if outcome is None:
        outcomes = batch.xp.where(batch.last, batch.rewards, 0.0).sum(1)
    else:
        outcomes = batch.per_rollout_number(outcome, "outcome")
    before = batch.exists & ~batch.last
    rollout = batch.by_rollout.compare(outcomes, "std", ddof=ddof, singleton=singleton)
    turn = batch.by_index(before).compare(batch.rewards, "std", ddof=ddof, singleton=singleton)
    return batch.write(rollout[:, None] + coef * batch.xp.where(before, turn, 0.0))
