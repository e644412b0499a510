"""Advantages for a trainer that knows of tokens only: rewards `[N, L]`, a mask `[N, L]`, and who is compared with whom.

The turns are read off the mask: each run of sampled tokens is one, because something always stands between two turns.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.advantages import ESTIMATORS, get_estimator, needs, to_tokens
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    import torch

REWARD_ONLY: tuple[str, ...] = tuple(name for name in ESTIMATORS if not needs(name))
"""Names of the estimators that ask for nothing but rewards and groups."""


def check_estimator(name: str) -> None:
    """Make sure that an estimator can be used where there are only rewards and groups.

    Raises:
        UsageError: There is no such estimator, or it asks for more.
    """
    wanted = needs(name)
    if wanted:
        raise UsageError(
            f"estimator {name!r} needs {', '.join(wanted)}, which this trainer does not keep; "
            f"choose one of {', '.join(REWARD_ONLY)}"
        )


def advantages_of_tokens(
    estimator: str, token_rewards: Any, mask: Any, group_ids: Sequence[Hashable], **options: Any
) -> NDArray[np.float64]:
    """One advantage per token, from rewards that stand at tokens.

    Args:
        estimator: One of `REWARD_ONLY`.
        token_rewards: `[N, L]` numbers. All that stands from the beginning of a turn to the next turn's is that turn's,
            so a reward may stand at the turn's last token or at the end of the message after it.
        mask: `[N, L]`: true where the policy sampled the token.
        group_ids: `[N]`: which rollouts are compared.
        options: Of the estimator, such as `gamma`.

    Returns:
        `[N, L]`, 0 where no token was sampled.

    Raises:
        UsageError: No such estimator, one that needs more, or arguments that do not fit.
    """
    check_estimator(estimator)
    rewards, sampled = np.asarray(token_rewards, dtype=np.float64), np.asarray(mask) > 0
    if rewards.ndim != 2 or rewards.shape != sampled.shape:
        raise UsageError(
            f"token_rewards and mask must both be [rollouts, tokens], got {rewards.shape} and {sampled.shape}"
        )
    numbers = turn_numbers(sampled)
    counts = numbers.max(axis=1, initial=-1) + 1
    turn_rewards = np.zeros((len(rewards), max(1, int(counts.max(initial=0)))))
    np.add.at(turn_rewards, (np.arange(len(rewards))[:, None], np.maximum(numbers, 0)), rewards)
    exists = np.arange(turn_rewards.shape[1]) < counts[:, None]
    by_turn = get_estimator(estimator)(turn_rewards, list(group_ids), mask=exists, **options)
    found: NDArray[np.float64] = to_tokens(by_turn, np.where(sampled, numbers, -1))
    return found


def advantage_tensors(
    estimator: str, token_rewards: torch.Tensor, mask: torch.Tensor, group_ids: Any, gamma: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As verl and SkyRL ask an estimator: advantages, and returns for their logs and critics.

    Args:
        estimator: One of `REWARD_ONLY`.
        token_rewards: `[N, L]`, as for `advantages_of_tokens`.
        mask: `[N, L]`.
        group_ids: `[N]`.
        gamma: Discount per turn, for estimators that have one; `None` for theirs.

    Returns:
        Advantages `[N, L]`, and the sum of the rewards from each sampled token on, `[N, L]`.

    Raises:
        UsageError: As `advantages_of_tokens`, or there are no group ids.
    """
    import torch

    if group_ids is None:
        raise UsageError(f"estimator {estimator!r} compares the rollouts of a group, and the batch does not say which")
    discounts = "gamma" in inspect.signature(get_estimator(estimator)).parameters
    options = {"gamma": float(gamma)} if discounts and gamma is not None else {}
    rewards, sampled = token_rewards.detach().double().cpu(), mask.cpu()
    found = advantages_of_tokens(estimator, rewards.numpy(), sampled.numpy(), list(group_ids), **options)
    returns = rewards.flip(-1).cumsum(-1).flip(-1) * sampled
    return torch.from_numpy(found).to(token_rewards), returns.to(token_rewards)


def turn_numbers(sampled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`[N, L]`: number of the turn that began last; -1 before the first one."""
    begins = sampled.copy()
    begins[:, 1:] &= ~sampled[:, :-1]
    return np.cumsum(begins, axis=1) - 1
