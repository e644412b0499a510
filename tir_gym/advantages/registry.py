"""The estimators by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from tir_gym.advantages.dual import dual, dual_loo
from tir_gym.advantages.gigpo import gigpo
from tir_gym.advantages.mt_grpo import mt_grpo
from tir_gym.advantages.steps_gae import steps_gae
from tir_gym.advantages.tool_tokens import tool_tokens
from tir_gym.advantages.trajectory import dr_grpo, grpo, rloo
from tir_gym.advantages.tree import tree
from tir_gym.advantages.turn import gtpo, turn
from tir_gym.errors import UsageError

Estimator: TypeAlias = Callable[..., Any]
"""`estimator(turn_rewards, group_ids, *, mask=None, ...)` gives one advantage per turn, in the form of the rewards."""

ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "grpo": grpo,
        "dr_grpo": dr_grpo,
        "rloo": rloo,
        "turn": turn,
        "dual": dual,
        "dual_loo": dual_loo,
        "mt_grpo": mt_grpo,
        "gtpo": gtpo,
        "gigpo": gigpo,
        "steps_gae": steps_gae,
        "tree": tree,
        "tool_tokens": tool_tokens,
    }
)
"""Every estimator of this package."""


def get_estimator(name: str) -> Estimator:
    """The estimator of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in ESTIMATORS:
        raise UsageError(f"no advantage estimator {name!r}; choose one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]


def needs(name: str) -> tuple[str, ...]:
    """What an estimator must be given besides turn rewards and group ids, such as `values` for `steps_gae`.

    Raises:
        UsageError: No estimator of that name.
    """
    parameters = inspect.signature(get_estimator(name)).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
