"""SkyRL's trainer with an advantage for each turn; the environments are in `skyrl.py` beside this file.

    from tir_gym.agents.adapters.skyrl_trainer import TurnPPOTrainer, register_estimators

    class Experiment(BasePPOExp):
        def get_trainer(self, *args, **kwargs):
            register_estimators()  # then trainer.algorithm.advantage_estimator=tir_gym_dual
            return TurnPPOTrainer(*args, **kwargs)

An estimator is told by SkyRL which tokens belong to the response, tool results included, but not which of them the
policy sampled, so it could not tell turns apart. `TurnPPOTrainer` tells it the latter.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from tir_gym.agents.adapters.tokens import REWARD_ONLY, advantage_tensors
from tir_gym.errors import MissingExtra, UsageError

try:
    from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry
    from skyrl.train.trainer import RayPPOTrainer
except ImportError as error:
    raise MissingExtra(f"this adapter needs SkyRL's trainer ({error}): pip install 'skyrl[fsdp]==0.3.0'") from error


class TurnPPOTrainer(RayPPOTrainer):  # type: ignore[misc]  # a class of a package that types are not read from
    """A `RayPPOTrainer` whose estimators see what the policy sampled, and nothing else, as turns.

    Raises:
        UsageError: `generator.step_wise_trajectories` is on, where SkyRL reads the last step's reward only.
    """

    def compute_advantages_and_returns(self, data: Any) -> Any:
        """As SkyRL's, with the loss mask in the place of the response mask for as long as it takes."""
        if self.cfg.generator.step_wise_trajectories:
            raise UsageError("generator.step_wise_trajectories=true has no reward per turn; set it to false")
        response = data["response_mask"]
        data["response_mask"] = data["loss_mask"]
        try:
            found = super().compute_advantages_and_returns(data)
        finally:
            data["response_mask"] = response
        found["response_mask"] = response
        return found


def advantages(
    token_level_rewards: Any, response_mask: Any, index: Any, *, estimator: str, gamma: float | None = None, **_: Any
) -> tuple[Any, Any]:
    """An estimator of `tir_gym.advantages` as SkyRL calls one.

    Where the estimator discounts, it does so by `trainer.algorithm.gamma`, which is 1 in SkyRL unless it is set; the
    paper's gamma is 0.9.

    Args:
        token_level_rewards: `[N, L]` tensor: each turn's reward anywhere from its first token to the next turn's.
        response_mask: `[N, L]` tensor: 1 where the policy sampled the token.
        index: `[N]`: which rollouts are compared.
        estimator: One of `REWARD_ONLY`.
        gamma: Discount per turn.

    Returns:
        Advantages `[N, L]` and returns `[N, L]`, tensors.
    """
    return advantage_tensors(estimator, token_level_rewards, response_mask, index, gamma)


def register_estimators() -> None:
    """Put every estimator of `REWARD_ONLY` into SkyRL's registry, as `tir_gym_NAME`; a second time does nothing."""
    there = AdvantageEstimatorRegistry.list_available()
    for name in REWARD_ONLY:
        if f"tir_gym_{name}" not in there:
            AdvantageEstimatorRegistry.register(f"tir_gym_{name}", partial(advantages, estimator=name))
