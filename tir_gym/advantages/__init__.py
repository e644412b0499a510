"""From turn rewards to advantages: one plain function per estimator, over lists, NumPy arrays or torch tensors.

    from tir_gym.advantages import dual, to_tokens

    advantages = dual([[1, 1, 1], [0, 1, 0], [1, 0]], ["task 7"] * 3)

Formulas, a worked example and the measured bias of each are in `docs/advantages.md`. No trainer is in here: what a
loss does with an advantage (clipping, averaging over tokens, a penalty on divergence) is the trainer's.
"""

from tir_gym.advantages.batch import Masks
from tir_gym.advantages.dual import dual, dual_loo
from tir_gym.advantages.gigpo import gigpo
from tir_gym.advantages.mt_grpo import mt_grpo
from tir_gym.advantages.registry import ESTIMATORS, Estimator, get_estimator, needs
from tir_gym.advantages.steps_gae import steps_gae
from tir_gym.advantages.tokens import to_tokens
from tir_gym.advantages.tool_tokens import tool_tokens
from tir_gym.advantages.trajectory import dr_grpo, grpo, rloo
from tir_gym.advantages.tree import tree
from tir_gym.advantages.turn import gtpo, turn

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "Masks",
    "dr_grpo",
    "dual",
    "dual_loo",
    "get_estimator",
    "gigpo",
    "grpo",
    "gtpo",
    "mt_grpo",
    "needs",
    "rloo",
    "steps_gae",
    "to_tokens",
    "tool_tokens",
    "tree",
    "turn",
]
