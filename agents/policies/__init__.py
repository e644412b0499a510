"""Policies one can make here: a small language model from nothing, and its first lessons.

    from tir_gym.agents.policies import make_policy

    make_policy("outputs/policy", size="1M", envs=["tir_gym/Lookup-v0"])

`make_policy` writes a model of random weights with a tokenizer of its own; `demonstrations` are episodes to imitate,
with the flaws of whoever gave them. Torch and transformers (the extra `train`) are imported when something is made.
"""

from tir_gym.agents.policies.demonstrations import Demonstration, Demonstrator, Flaws, demonstrations
from tir_gym.agents.policies.making import FAMILIES, SIZES, MadePolicy, Shape, make_policy

__all__ = [
    "FAMILIES",
    "SIZES",
    "Demonstration",
    "Demonstrator",
    "Flaws",
    "MadePolicy",
    "Shape",
    "demonstrations",
    "make_policy",
]
