"""A policy for the trainers' tests: 0.2M parameters, half taught, so that its rollouts differ in what they are paid.

python tests/trainers/make_policy.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from transformers import AutoModelForCausalLM

from tir_gym.agents.engines import HuggingFaceTokenizer
from tir_gym.agents.policies import demonstrations, make_policy
from tir_gym.agents.policies.supervised import SupervisedConfig, train_supervised
from tir_gym.making import make_env
from tir_gym.rollout import Flat

ENV = "tir_gym/Lookup-v0"
OPTIONS = {"hops": 1, "branches": 1, "distractors": 1}


def main(folder: str) -> None:
    blank = Path(f"{folder}.partial")  # whoever is interrupted leaves no policy that knows nothing
    shutil.rmtree(blank, ignore_errors=True)
    make_policy(blank, size="0.2M", envs=[ENV], env_options=OPTIONS, conversations=100)
    model = AutoModelForCausalLM.from_pretrained(blank)
    tokenizer = HuggingFaceTokenizer.load(blank)
    env = make_env(ENV, dialect="hermes", **OPTIONS)

    def shown() -> Iterator[Flat]:
        for demonstration in demonstrations(env, seed=0):
            yield demonstration.trajectory(tokenizer).flat()

    train_supervised(model, shown(), SupervisedConfig(steps=150, batch=32, warmup=20))
    model.save_pretrained(blank)
    shutil.rmtree(folder, ignore_errors=True)
    blank.rename(folder)


if __name__ == "__main__":
    main(sys.argv[1])
