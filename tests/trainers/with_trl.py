"""Our episodes in TRL's GRPOTrainer: the arrays it learns from, hand-checked, and a few real steps on a CPU.

Run by `make test-trainers` in an environment of its own. `$TIR_GYM_POLICY` names a policy of `make_policy.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import get_json_schema
from trl import GRPOConfig, GRPOTrainer

from tir_gym.advantages import get_estimator
from tir_gym.agents.adapters.trl import TurnGRPOTrainer, TurnRollouts, task_rows
from tir_gym.agents.adapters.trl_tools import HERMES, environment_class, success
from tir_gym.agents.adapters.trl_tools import task_rows as message_rows
from tir_gym.errors import UsageError
from tir_gym.making import make_env

CHECKOUT = Path(__file__).resolve().parents[2]
POLICY = os.environ["TIR_GYM_POLICY"]
LOOKUP = "tir_gym/Lookup-v0"
EASY: dict[str, Any] = {"hops": 1, "branches": 1, "distractors": 1, "max_turns": 3}


def config(folder: Path, **changes: Any) -> GRPOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 24,
        "learning_rate": 1e-3,
        "reward_weights": [1.0, 0.0],
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return GRPOConfig(**{**settings, **changes})


class Watched(TurnGRPOTrainer):
    """Keeps what it was about to learn from."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        self.seen.append((output, list(self.rollout_func.trajectories)))
        return output


def watched(folder: Path, estimator: str, **changes: Any) -> Watched:
    Watched.seen = []
    trainer = Watched(
        POLICY,
        rollout_func=TurnRollouts(LOOKUP, **EASY),
        estimator=estimator,
        estimator_options={"gamma": 0.8} if estimator == "dual" else None,
        train_dataset=task_rows(LOOKUP, 16, **EASY),
        args=config(folder, **changes),
    )
    trainer.train()
    return trainer


def weights(model: Any) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


@pytest.mark.parametrize("estimator", ["dual", "grpo"])
def test_each_turn_is_learnt_by_its_own_advantage(tmp_path: Path, estimator: str) -> None:
    before = (
        torch.nn.utils.parameters_to_vector(AutoModelForCausalLM.from_pretrained(POLICY).parameters()).detach().clone()
    )
    trainer = watched(tmp_path, estimator)
    assert len(trainer.seen) == 2
    options = {"gamma": 0.8} if estimator == "dual" else {}
    spread = 0
    for output, trajectories in trainer.seen:
        assert [trajectory.group_id for trajectory in trajectories] == [0] * 4 + [1] * 4
        assert len({trajectory.task_id for trajectory in trajectories[:4]}) == 1
        rewards = [trajectory.turn_rewards for trajectory in trajectories]
        expected = get_estimator(estimator)(rewards, [0] * 4 + [1] * 4, **options)
        spread += len({tuple(row) for row in rewards[:4]}) > 1
        for i, trajectory in enumerate(trajectories):
            flat = trajectory.flat()
            length = len(flat.response_ids)
            prompt = output["prompt_ids"][i][output["prompt_mask"][i].bool()]
            assert prompt.tolist() == flat.prompt_ids.tolist()
            assert output["completion_ids"][i, :length].tolist() == flat.response_ids.tolist()
            assert output["completion_mask"][i].sum() == length, "what a tool said is attended to"
            assert output["tool_mask"][i, :length].tolist() == flat.loss_mask.tolist()
            wanted = [expected[i][turn] if turn >= 0 else 0.0 for turn in flat.turn_of_token.tolist()]
            assert output["advantages"][i, :length].tolist() == pytest.approx(wanted, abs=1e-5)
            assert not output["advantages"][i, length:].any()
    assert spread, "the policy must be good enough to be paid differently, or nothing is tested"
    assert not torch.equal(before, weights(trainer.model))
    logged = [line for line in trainer.state.log_history if "rewards/turn_return/mean" in line]
    paid = [sum(map(sum, (t.turn_rewards for t in trajectories))) / 8 for _, trajectories in trainer.seen]
    assert [line["rewards/turn_return/mean"] for line in logged] == pytest.approx(paid, abs=1e-5)


def test_what_the_infrastructure_breaks_is_not_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of four rollouts breaks in its first turn: the others are compared as if it were not there."""
    from tir_gym.errors import InfrastructureError
    from tir_gym.sandboxes.state import StateSandbox

    real, rounds = StateSandbox.run_turn, iter(range(10**9))

    def run_turn(self: Any, calls: Any) -> Any:
        if next(rounds) == 0:
            raise InfrastructureError("gone", kind="sandbox_died")
        return real(self, calls)

    rollouts = TurnRollouts(LOOKUP, **EASY)
    Watched.seen = []
    trainer = Watched(
        POLICY,
        rollout_func=rollouts,
        train_dataset=task_rows(LOOKUP, 2, **EASY),
        args=config(tmp_path, max_steps=1, per_device_train_batch_size=4),
    )
    for number in range(2):  # made ready beforehand, so that the first call that breaks is the policy's
        rollouts._envs.append(rollouts._make())
        rollouts._envs[-1].reset(options={"task": f"train/{number}"})
    monkeypatch.setattr(StateSandbox, "run_turn", run_turn)
    trainer.train()
    ((output, trajectories),) = trainer.seen
    (broken,) = (i for i, trajectory in enumerate(trajectories) if trajectory.infra_error)
    assert not output["tool_mask"][broken, : len(trajectories[broken].flat().response_ids)].any()
    assert not output["advantages"][broken].any()
    rest = [trajectory.turn_rewards for trajectory in trajectories if not trajectory.infra_error]
    expected = get_estimator("dual")(rest, [0] * 3)
    first = [row[0].item() for i, row in enumerate(output["advantages"]) if i != broken]
    assert first == pytest.approx([row[0] for row in expected], abs=1e-5)


def test_an_estimator_that_needs_more_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'gigpo' needs state_keys"):
        watched(tmp_path, "gigpo")


@pytest.mark.parametrize("env", [LOOKUP, "tir_gym/Assistant-v0", "tir_gym/SQL-v0"])
def test_the_methods_have_the_tools_schemas(env: str) -> None:
    environment = environment_class(env)()
    made = make_env(env)
    _, info = made.reset(options={"task": made.task_ids(1)[0]})
    for tool in (entry["function"] for entry in info["tools"]):
        read = get_json_schema(getattr(environment, tool["name"]))["function"]
        wanted = tool["parameters"]
        assert list(read["parameters"]["properties"]) == list(wanted["properties"])
        assert read["parameters"].get("required", []) == wanted.get("required", [])
        for name, schema in wanted["properties"].items():
            got = read["parameters"]["properties"][name]
            assert [got.get(key) for key in ("type", "enum", "items")] == [
                schema.get(key) for key in ("type", "enum", "items")
            ]
            assert got["description"] == schema.get("description", name)


def test_the_methods_play_the_episode_and_the_answer_ends_it() -> None:
    environment = environment_class(LOOKUP, hops=2, branches=1)()
    made = make_env(LOOKUP, hops=2, branches=1)
    _, info = made.reset(options={"task": "train/3"})
    script, paid = info["oracle"].script(), []
    environment.reset(prompt=[], task="train/3")
    for text, calls in script:
        observation, reward, *_, info = made.step(made.dialect.render(text, calls))
        paid.append(reward)
        for call in calls:
            assert getattr(environment, call.name)(**call.arguments) == observation[0]["content"]
    (done,) = success([environment], [[{"role": "assistant", "content": script[-1][0]}]])
    assert done == float(info["success"]) == 1.0
    assert environment.get_reward() == pytest.approx(sum(paid))
    with pytest.raises(RuntimeError, match="the episode has ended"):
        environment.boss(of="B10")
    environment.reset(prompt=[], task="train/3")
    assert environment.get_reward() == 0.0


def test_trl_trains_with_our_environment_factory(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(POLICY)
    tokenizer.response_template = dict(HERMES)
    trainer = GRPOTrainer(
        POLICY,
        processing_class=tokenizer,
        environment_factory=environment_class(LOOKUP, **EASY),
        reward_funcs=[success],
        train_dataset=message_rows(LOOKUP, 16, **EASY),
        args=config(tmp_path, max_completion_length=96, reward_weights=[0.0]),
    )
    trainer.train()
    logged = [line for line in trainer.state.log_history if "rewards/LookupEnvTools/mean" in line]
    assert len(logged) == 2
    assert sum(line["tools/call_frequency"] for line in logged) > 0
    assert any(line["grad_norm"] > 0 for line in logged)


@pytest.mark.parametrize("example", ["trl_turns.py", "trl_tools.py"])
def test_the_example_runs(example: str, tmp_path: Path) -> None:
    command = [sys.executable, str(CHECKOUT / "examples/trainers" / example), "--policy", POLICY, "--steps", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^step 1: return -?\d\.\d+, success \d\.\d+", done.stdout, re.MULTILINE), done.stdout
