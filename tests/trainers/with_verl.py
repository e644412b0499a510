"""Our rollouts through verl's own classes: rewards where turns end, advantages per turn, one update by its loss.

Run by `make test-trainers` in an environment of its own. `$TIR_GYM_POLICY` names a policy of `make_policy.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "examples/trainers"))

# ruff: noqa: E402

import verl_turns as example
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

from tir_gym.advantages import get_estimator
from tir_gym.agents.adapters.tokens import REWARD_ONLY
from tir_gym.agents.adapters.verl import TurnLoopWorker, TurnOutput
from tir_gym.errors import UsageError
from tir_gym.making import make_env

POLICY = Path(os.environ["TIR_GYM_POLICY"])
TASKS = ["train/0", "train/1"]


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(POLICY)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return example.configuration(POLICY, tmp_path_factory.mktemp("verl"), "dual")


@pytest.fixture(scope="module")
def outputs(model: Any, config: Any) -> list[TurnOutput]:
    torch.manual_seed(0)
    return asyncio.run(example.roll_out(config, model, TASKS, 4))


def test_each_turn_is_paid_at_its_last_sampled_token(outputs: list[TurnOutput]) -> None:
    for output in outputs:
        fields = output.as_dict()
        assert {"turn_ends", "turn_rewards"}.isdisjoint(fields)
        mask, scores = fields["response_mask"], fields["rm_scores"]
        ends = [i for i, own in enumerate(mask.tolist()) if own and (i + 1 == len(mask) or not mask[i + 1])]
        assert scores[ends].tolist() == pytest.approx(output.turn_rewards)
        assert scores.sum().item() == pytest.approx(sum(output.turn_rewards), abs=1e-5)
        assert output.reward_score == pytest.approx(sum(output.turn_rewards))
        assert len(output.turn_rewards) == len(ends)
        assert fields["rollout_log_probs"][mask.bool()].max() < 0 == fields["rollout_log_probs"][~mask.bool()].sum()
    assert any(len(output.turn_rewards) > 1 for output in outputs)


def test_verls_own_output_would_pay_them_all_at_the_end(outputs: list[TurnOutput]) -> None:
    """The difference that the subclass makes; should verl learn to do it itself, this test says so."""
    output = next(output for output in outputs if len(output.turn_rewards) > 1)
    kept = {name: getattr(output, name) for name in ("prompt_ids", "response_ids", "response_mask", "reward_score")}
    plain = AgentLoopOutput(**kept, metrics=AgentLoopMetrics()).as_dict()
    assert plain["rm_scores"][-1].item() == pytest.approx(output.reward_score)
    assert not plain["rm_scores"][:-1].any()


def test_what_was_sampled_is_what_the_environment_was_told(outputs: list[TurnOutput], config: Any) -> None:
    """Played again from the tokens' text, the environment pays the same."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(POLICY)
    for output, task in zip(outputs, [task for task in TASKS for _ in range(4)], strict=True):
        env = make_env(example.ENV, dialect="hermes", **example.OPTIONS)
        env.reset(options={"task": task})
        paid, start = [], 0
        for end in output.turn_ends:
            while not output.response_mask[start]:
                start += 1
            ids = output.response_ids[start : end + 1]
            text = tokenizer.decode(ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids)
            paid.append(env.step(text)[1])
            start = end + 1
        assert paid == output.turn_rewards


@pytest.mark.parametrize("estimator", REWARD_ONLY)
def test_a_batch_gets_the_estimators_advantages(outputs: list[TurnOutput], config: Any, estimator: str) -> None:
    config = config.copy()
    config.algorithm.adv_estimator = f"tir_gym_{estimator}"
    uids = [task for task in TASKS for _ in range(4)]
    data = example.batch_of(config, outputs, uids)
    options = {"gamma": 0.9} if estimator in ("turn", "dual", "dual_loo", "gtpo") else {}
    expected = get_estimator(estimator)([output.turn_rewards for output in outputs], uids, **options)
    for output, row, turns in zip(outputs, data.batch["advantages"], expected, strict=True):
        assert row[output.turn_ends].tolist() == pytest.approx(turns, abs=1e-5)
        own = torch.tensor(output.response_mask).bool()
        assert not row[: len(own)][~own].any()
        assert not row[len(own) :].any()


def test_verls_loss_moves_the_model_by_them(model: Any, outputs: list[TurnOutput], config: Any) -> None:
    uids = [task for task in TASKS for _ in range(4)]
    data = example.batch_of(config, outputs, uids)
    assert data.batch["advantages"].abs().sum() > 0, "the policy must be paid differently, or nothing is tested"
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    example.update(config, model, outputs, data, lr=1e-4)
    after = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    assert 0 < (after - before).abs().max() < 1e-3


def test_the_older_trainers_batches_have_them_too(model: Any, config: Any) -> None:
    """verl's own worker makes the batch, from rows to padded tensors; only the client is ours."""
    engine = example.LocalEngine(model, max_slots=8)
    client = example.LocalClient(config, engine, model.generation_config.eos_token_id)
    rows = [task for task in TASKS for _ in range(4)]
    fields = {"raw_prompt": [[]] * 8, "extra_info": [{"task": task} for task in rows], "uid": rows}
    batch = DataProto(non_tensor_batch={name: as_objects(values) for name, values in fields.items()})
    try:
        data = asyncio.run(TurnLoopWorker(config, client).generate_sequences(batch))
    finally:
        asyncio.run(engine.close())
    assert data.batch["responses"].shape == data.batch["response_mask"].shape == (8, 128)
    for scores, mask, paid in zip(
        data.batch["rm_scores"], data.batch["response_mask"], data.non_tensor_batch["turn_scores"], strict=True
    ):
        ends = [i for i, own in enumerate(mask.tolist()) if own and (i + 1 == len(mask) or not mask[i + 1])]
        assert scores[ends].tolist() == pytest.approx(paid)
        assert scores.abs().sum().item() == pytest.approx(sum(map(abs, paid)), abs=1e-5)


def as_objects(values: list[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def test_a_rollout_that_broke_has_no_token_to_learn_from() -> None:
    fields = TurnOutput(
        prompt_ids=[1, 2], response_ids=[3, 4], response_mask=[0, 0], turn_ends=[], turn_rewards=[], reward_score=0.0,
        metrics=AgentLoopMetrics(),
    ).as_dict()  # fmt: skip
    assert fields["rm_scores"].tolist() == [0.0, 0.0]


def test_a_batch_without_groups_is_refused() -> None:
    estimate = get_adv_estimator_fn("tir_gym_dual")
    with pytest.raises(UsageError, match="the batch does not say which"):
        estimate(torch.zeros(1, 2), torch.ones(1, 2), config=SimpleNamespace(gamma=1.0))


def test_the_example_runs() -> None:
    command = [sys.executable, str(CHECKOUT / "examples/trainers/verl_turns.py"), "--policy", str(POLICY)]
    done = subprocess.run([*command, "--rollouts", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("advantages [") == 4
    assert "loss " in done.stdout
