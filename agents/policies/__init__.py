"""Policies one can make here: a small language model from nothing, and its first lessons.

    from tir_gym.agents.policies import Lessons, SupervisedConfig, make_policy, teach

    make_policy("outputs/blank", size="1M", envs=["tir_gym/Lookup-v0"])
    lessons = Lessons("tir_gym/Lookup-v0", {"hops": (1, 3), "branches": 1})
    teach("outputs/blank", "outputs/policy", lessons, SupervisedConfig())

`make_policy` writes a model of random weights with a tokenizer of its own; `demonstrations` are episodes to imitate,
with the flaws of whoever gave them; `teach` lets a policy learn from them; `measure_success` says what came of it.
Torch and transformers (the extra `train`) are imported when something is made.
"""

from tir_gym.agents.policies.demonstrations import Demonstration, Demonstrator, Flaws, demonstrations
from tir_gym.agents.policies.lessons import Lessons, teach
from tir_gym.agents.policies.making import FAMILIES, SIZES, MadePolicy, Shape, make_policy
from tir_gym.agents.policies.success import Success, measure_success
from tir_gym.agents.policies.supervised import SupervisedConfig

__all__ = [
    "FAMILIES",
    "SIZES",
    "Demonstration",
    "Demonstrator",
    "Flaws",
    "Lessons",
    "MadePolicy",
    "Shape",
    "Success",
    "SupervisedConfig",
    "demonstrations",
    "make_policy",
    "measure_success",
    "teach",
]
