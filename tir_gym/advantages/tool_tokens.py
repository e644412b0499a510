"""The rollout's advantage everywhere, and extra credit where a tool is called."""

from __future__ import annotations

from typing import Unpack

from tir_gym.advantages.batch import Batch, Masks, Rollouts, Turns
from tir_gym.advantages.groups import Singleton
from tir_gym.advantages.tokens import Tokens


def tool_tokens(
    turn_rewards: Turns,
    group_ids: Rollouts,
    weight: float = 1.0,
    ddof: int = 1,
    singleton: Singleton = "raw",
    turn_of_token: Turns | None = None,
    *,
    call_mask: Turns,
    **masks: Unpack[Masks],
) -> Turns:
    """z-score of the return on all tokens, plus the z-score of the turn's own reward on the tokens of its calls.

        A = z_j(R_i) + weight * [a call] * z_{(j,k) with calls}(r_{i,t})

    with z(x) = (x - mean) / (std + 1e-6), the second over all turns of the group that call a tool. That credit for a
    step should fall on its call is an idea of several papers (THOR, arXiv 2509.13761, optimises steps of code beside
    whole episodes; ResT, arXiv 2509.21826, weights tokens by their part in a call). This is its plain form, not theirs.

    Biased: by the deviations, as `grpo`; the extra term pays a call for its own reward alone and not for what it makes
    possible; and a call that earns less than the group's average call is punished even where calling was right.

    Args:
        turn_rewards: Reward per turn, see `Batch`.
        group_ids: `[N]`, which rollouts are compared.
        weight: Of the extra term.
        ddof: 1 for the sample's standard deviation, 0 for the population's.
        singleton: For a group of one and for its only call: `raw`, the value; `zero`, nothing.
        turn_of_token: `[N, L]`, see `to_tokens`: give it for advantages by token.
        call_mask: Without `turn_of_token`: which turns call a tool, one value per turn. With it: which tokens belong to
            a call, one value per token.
        masks: See `Masks`.

    Returns:
        One advantage per turn, in the form of `turn_rewards`; with `turn_of_token`, one per token, as `to_tokens` does.

    Raises:
        UsageError: Arguments do not fit together.
    """
    batch = Batch(turn_rewards, group_ids, **masks)
    if turn_of_token is None:
        calls = batch.flags(call_mask, "call_mask")
    else:
        tokens = Tokens(turn_of_token, turn_rewards)
        call_tokens = tokens.only(call_mask)
        calls = call_tokens.turns(batch.shape)
    rollout = batch.by_rollout.compare(batch.totals, "std", ddof=ddof, singleton=singleton)[:, None]
    extra = batch.pooled(calls).compare(batch.rewards, "std", ddof=ddof, singleton=singleton)
    extra = weight * batch.xp.where(calls, extra, 0.0)
    if turn_of_token is None:
        return batch.write(rollout + extra)
    return tokens.write(tokens.spread(batch.masked(rollout)) + call_tokens.spread(batch.masked(extra)))
