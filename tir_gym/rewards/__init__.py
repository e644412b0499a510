"""From calls to reward: what a reward is made of (`spec.py`), and how each turn is paid (`credit.py`)."""

from tir_gym.rewards.credit import Credit, CreditSnapshot
from tir_gym.rewards.match import Match
from tir_gym.rewards.spec import PRESETS, RewardSpec, get_reward

__all__ = ["PRESETS", "Credit", "CreditSnapshot", "Match", "RewardSpec", "get_reward"]
