"""Advantages from a critic's values, turn by turn: generalised advantage estimation, as in PPO."""

from __future__ import annotations

from typing import Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns, unit


def steps_gae(
    turn_rewards: Turns,
    group_ids: Rollouts,
    gamma: float = 1.0,
    lam: float = 0.95,
    bootstrap: Rollouts | None = None,
    *,
    values: Turns,
    **masks: Unpack[Masks],
) -> Turns:
    """Exponentially weighted sum of the one-turn errors of a value function.

        delta_t = r_t + gamma V(s_{t+1}) - V(s_t)          A_t = sum_{k >= t} (gamma lam)^(k-t) delta_k

    Generalised advantage estimation (arXiv 1506.02438), with a turn for a step. No rollout is compared with another;
    `group_ids` is taken so that all estimators are called alike.

    Unbiased for grad E[R] at gamma = 1 when lam = 1, whatever the values, or when the values are exact. Otherwise
    biased by the values' errors, the more the smaller lam, and by discounting when gamma < 1.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`.
        gamma: Discount per turn, in [0, 1].
        lam: Weight of later errors, in [0, 1].
        bootstrap: `[N]`: value of the state after the last turn, for rollouts that were cut short. Default: 0, as for
            rollouts that ended.
        values: The critic's value of the state before each turn.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    now = batch.per_turn(values, "values")
    after = batch.xp.zeros_like(now)
    after[:, :-1] = now[:, 1:]
    if bootstrap is not None:
        cut = batch.per_rollout_number(bootstrap, "bootstrap")
        after = batch.xp.where(batch.last, cut[:, None], after)
    delta = batch.rewards + unit(gamma, "gamma") * after - now
    return batch.write(batch.accumulate(batch.xp.where(batch.exists, delta, 0.0), gamma * unit(lam, "lam")))
