"""From calls to reward: what a reward is made of (`spec.py`), its terms (a file each), and their sum (`credit.py`)."""

from tir_gym.rewards.credit import Credit, CreditSnapshot
from tir_gym.rewards.event import TurnEvent
from tir_gym.rewards.match import Match
from tir_gym.rewards.match_term import GoldSide
from tir_gym.rewards.outcome import outcome
from tir_gym.rewards.spec import PRESETS, RewardSpec, get_reward

__all__ = [
    "PRESETS",
    "Credit",
    "CreditSnapshot",
    "GoldSide",
    "Match",
    "RewardSpec",
    "TurnEvent",
    "get_reward",
    "outcome",
]
