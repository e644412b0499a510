"""`ppo:DIR`: an agent without a language model, trained by PPO on a discrete view of an environment.

`discretiser.py` says which actions there are and what is seen of an episode; `discrete.py` is that as a Gymnasium
wrapper; `training.py` runs MaskablePPO of sb3-contrib on it; `agent.py` plays what was trained. It is the reference
for whoever asks how far one comes with the tools' names and the values seen alone.

    from tir_gym.agents.ppo import DiscreteTools

    env = DiscreteTools(gym.make("tir_gym/Lookup-v0", hops=3, branches=1, distractors=0))
    features, info = env.reset(seed=0)
    mask = env.action_masks()

The wrapper needs nothing beyond the core; training and playing need the extra `rl`.
"""

from tir_gym.agents.ppo.discrete import DiscreteTools
from tir_gym.agents.ppo.discretiser import Discretiser

__all__ = ["DiscreteTools", "Discretiser"]
