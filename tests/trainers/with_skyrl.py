"""Our environments through SkyRL's own classes: generator, batch, estimators with the turns told, policy loss.

Run by `make test-trainers` in an environment of its own. `$TIR_GYM_POLICY` names a policy of `make_policy.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "examples/trainers"))

# ruff: noqa: E402

import skyrl_gym
import skyrl_turns as example
from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry
from transformers import AutoModelForCausalLM, AutoTokenizer

from tir_gym.advantages import get_estimator
from tir_gym.agents.adapters.skyrl import register_env
from tir_gym.agents.adapters.skyrl_trainer import register_estimators
from tir_gym.agents.adapters.tokens import REWARD_ONLY
from tir_gym.errors import UsageError
from tir_gym.making import make_env

POLICY = os.environ["TIR_GYM_POLICY"]
TASKS = ["train/0", "train/1"]

register_env("lookup", example.ENV, tools_in_prompt=False, **example.OPTIONS)
register_env("told", example.ENV, hops=2, branches=1)
register_estimators()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(POLICY)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(POLICY)


@pytest.fixture(scope="module")
def rolled(model: Any, tokenizer: Any) -> tuple[dict[str, Any], list[str]]:
    return example.roll_out(model, tokenizer, TASKS, 4)


def turns_of(mask: list[int]) -> list[int]:
    """Where runs of sampled tokens end."""
    return [i for i, own in enumerate(mask) if own and (i + 1 == len(mask) or not mask[i + 1])]


def test_an_environment_tells_its_tools_and_pays_each_step() -> None:
    env = skyrl_gym.make("told", env_config={}, extras={"task": "train/3", "max_turns": 9})
    messages, told = env.init([{"role": "user", "content": "not read"}])
    made = make_env(example.ENV, dialect="hermes", hops=2, branches=1)
    observation, info = made.reset(options={"task": "train/3"})
    assert messages[-1]["content"] == observation[-1]["content"]
    assert all(tool["function"]["name"] in messages[0]["content"] for tool in info["tools"])
    assert told["task_id"] == "train/3"
    for text, calls in info["oracle"].script():
        action = str(made.dialect.render(text, calls))
        observation, reward, terminated, truncated, _ = made.step(action)
        step = env.step(action)
        assert (step["reward"], step["done"]) == (reward, terminated or truncated)
        assert step["observations"] == ([] if step["done"] else [dict(message) for message in observation])
    assert env.get_metrics() == {"success": 1.0, "turns": 3.0}
    env.close()


def test_the_trainers_own_budget_of_turns_ends_an_episode() -> None:
    env = skyrl_gym.make("told", env_config={}, extras={"task": "train/3", "max_turns": 1})
    env.init([])
    assert env.step('<tool_call>\n{"name": "boss", "arguments": {"of": "B10"}}\n</tool_call>')["done"]
    with pytest.raises(UsageError, match="needs the id of its task"):
        skyrl_gym.make("told", env_config={}, extras={})


def test_the_generator_pays_each_turn_where_it_ends(rolled: Any, tokenizer: Any) -> None:
    output, tasks = rolled
    several = 0
    for task, ids, mask, rewards in zip(
        tasks, output["response_ids"], output["loss_masks"], output["rewards"], strict=True
    ):
        env = make_env(example.ENV, dialect="hermes", **example.OPTIONS)
        env.reset(options={"task": task})
        start, ends = 0, turns_of(mask)
        several += len(ends) > 1
        for end in ends:
            while not mask[start]:
                start += 1
            own = ids[start : end + 1]
            text = tokenizer.decode(own[:-1] if own[-1] == tokenizer.eos_token_id else own)
            assert rewards[end] == pytest.approx(env.step(text)[1])
            start = end + 1
        assert sum(rewards) == pytest.approx(sum(rewards[end] for end in ends))
    assert several, "the policy must call a tool now and then, or nothing is tested"


@pytest.mark.parametrize("estimator", REWARD_ONLY)
def test_a_batch_gets_the_estimators_advantages(rolled: Any, tokenizer: Any, estimator: str) -> None:
    output, uids = rolled
    data = example.batch_of(dict(output), uids, tokenizer, estimator, 4)
    paid = [
        [rewards[end] for end in turns_of(mask)]
        for rewards, mask in zip(output["rewards"], output["loss_masks"], strict=True)
    ]
    options = {"gamma": 0.9} if estimator in ("turn", "dual", "dual_loo", "gtpo") else {}
    expected = get_estimator(estimator)(paid, uids, **options)
    for mask, row, turns in zip(output["loss_masks"], data["advantages"], expected, strict=True):
        aligned = row[len(row) - len(mask) :]
        assert aligned[turns_of(mask)].tolist() == pytest.approx(turns, abs=1e-5)
        assert not aligned[~torch.tensor(mask).bool()].any()
    assert data["response_mask"].sum() > data["loss_mask"].sum(), "SkyRL's own mask is put back"


def test_without_the_trainer_all_turns_look_like_one(rolled: Any, tokenizer: Any) -> None:
    """What `TurnPPOTrainer` is for; should SkyRL learn to tell turns itself, this test says so."""
    output, uids = rolled
    data = example.batch_of(dict(output), uids, tokenizer, "dual", 4)
    estimate = AdvantageEstimatorRegistry.get("tir_gym_dual")
    blind, _ = estimate(data["rewards"], data["response_mask"], index=uids, gamma=0.9)
    for row in blind:
        assert len(set(row[row != 0].tolist())) <= 1
    assert not torch.allclose(blind * data["loss_mask"], data["advantages"])


def test_skyrls_loss_has_a_gradient_by_them(model: Any, rolled: Any, tokenizer: Any) -> None:
    output, uids = rolled
    model.zero_grad()
    example.loss_of(model, example.batch_of(dict(output), uids, tokenizer, "dual", 4)).backward()
    assert sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None) > 0


def test_the_example_runs() -> None:
    command = [sys.executable, str(CHECKOUT / "examples/trainers/skyrl_turns.py"), "--policy", POLICY]
    done = subprocess.run([*command, "--rollouts", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("advantages [") == 4
    assert "loss " in done.stdout
