"""The supervised start: what is shown, on which tokens it is learned, and that the same seed gives the same weights."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # other tests of this process may fork

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tir_gym import UsageError
from tir_gym.agents.checkpoints import checkpoints
from tir_gym.agents.engines import HuggingFaceTokenizer
from tir_gym.agents.policies import Demonstration, Flaws, Lessons, SupervisedConfig, demonstrations, make_policy, teach
from tir_gym.agents.policies.lessons import endless, load_model, shown
from tir_gym.agents.policies.supervised import own_token_loss
from tir_gym.cli import main
from tir_gym.env import ToolEnv
from tir_gym.making import make_env
from tir_gym.rollout import ChatPrompt, Flat, Recording
from tir_gym.store import open_store

LOOKUP = "tir_gym/Lookup-v0"
CHAINS: dict[str, Any] = {"hops": (1, 3), "branches": 1}
LESSONS = Lessons(LOOKUP, CHAINS, count=40)


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_policy(tmp_path_factory.mktemp("blank"), size="0.2M", envs=[LOOKUP], conversations=30).folder


@pytest.fixture(scope="module")
def tokenizer(blank: Path) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.load(blank)


def lookup(**options: Any) -> ToolEnv:
    return make_env(LOOKUP, **{"dialect": "hermes", **CHAINS, **options})


def first(n: int, env: ToolEnv, **flaws: float) -> list[Demonstration]:
    return list(islice(demonstrations(env, seed=5, flaws=Flaws(**flaws)), n))


def said(shown: Demonstration) -> list[str]:
    return [said for _, said, _ in shown.turns]


# Demonstrations.


def test_of_several_tokens_that_may_stop_a_turn_the_templates_own_is_learned(tokenizer: HuggingFaceTokenizer) -> None:
    (own,) = tokenizer.stop_ids
    more = HuggingFaceTokenizer(tokenizer.tokenizer, stop_ids=[own - 1, own + 1] if own else [own + 1])
    assert len(more.stop_ids) > 1
    demo = first(1, lookup())[0]
    assert [int(turn.output_ids[-1]) for turn in demo.trajectory(more).turns] == [own] * len(demo.turns)


def test_without_flaws_it_is_the_oracle_on_tasks_of_the_train_split() -> None:
    demos = first(30, lookup())
    assert all(demo.success for demo in demos)
    assert all(demo.task_id.startswith("train/") for demo in demos)
    assert len({demo.task_id for demo in demos}) == 30
    assert [said(demo) for demo in demos] == [said(demo) for demo in first(30, lookup())]


def test_stopping_early_leaves_out_the_last_round_and_answers_with_what_is_known() -> None:
    whole, short = first(40, lookup()), first(40, lookup(), stop_early=1.0)
    lengths = set()
    for right, wrong in zip(whole, short, strict=True):
        assert right.task_id == wrong.task_id
        calls = len(right.turns) - 1
        lengths.add(calls)
        if calls == 1:
            assert said(wrong) == said(right)
            continue
        assert said(wrong)[:-1] == said(right)[: calls - 1]
        (result,) = wrong.turns[-1][0]
        assert said(wrong)[-1] == result["content"]
        assert not wrong.success
    assert lengths == {1, 2, 3}


def test_an_early_answer_of_two_chains_has_both_results() -> None:
    for demo in first(10, lookup(hops=2, branches=2), stop_early=1.0):
        assert said(demo)[-1] == ", ".join(message["content"] for message in demo.turns[-1][0])
        assert len(demo.turns) == 2


def test_a_repeat_makes_every_round_but_the_last_twice() -> None:
    for right, wrong in zip(first(20, lookup()), first(20, lookup(), repeat=1.0), strict=True):
        *rounds, last, answer = said(right)
        assert said(wrong) == [turn for turn in rounds for _ in range(2)] + [last, answer]
        assert wrong.success


def test_flaws_come_as_often_as_they_are_said_to() -> None:
    demos = first(300, lookup(hops=3), stop_early=0.6)
    assert 0.5 < np.mean([not demo.success for demo in demos]) < 0.7


def test_only_the_train_split_is_shown_and_only_as_text() -> None:
    with pytest.raises(UsageError, match="train split"):
        next(demonstrations(lookup(split="test"), seed=0))
    with pytest.raises(UsageError, match="dialect='hermes'"):
        next(demonstrations(lookup(dialect="openai"), seed=0))
    with pytest.raises(UsageError, match=r"stop_early=1\.5"):
        Flaws(stop_early=1.5)


def test_the_tokens_are_those_of_a_rollout_that_samples_the_same_words(tokenizer: HuggingFaceTokenizer) -> None:
    env = lookup()
    end = tokenizer.tokenizer.eos_token_id
    for demo in first(10, lookup(), stop_early=0.5, repeat=0.5):
        observation, info = env.reset(options={"task": demo.task_id})
        prompt, recording = ChatPrompt(tokenizer, info["tools"]), Recording(demo.task_id, 0)
        recording.extend(prompt.begin(observation))
        over = False
        for words in said(demo):
            assert not over
            ids = [*tokenizer.encode(words), end]
            observation, reward, terminated, truncated, info = env.step(prompt.text(ids))
            recording.add(ids, np.zeros(len(ids)), reward=float(reward))
            over = terminated or truncated
            if not over:
                recording.extend(prompt.grow(ids, observation))
        assert over
        played, told = recording.finish(success=info["success"]), demo.trajectory(tokenizer)
        assert played.turns == tuple(turn.model_copy(update={"parts": {}}) for turn in told.turns)
        assert told.success == info["success"]
        text = tokenizer.decode(told.flat().response_ids)
        assert all(words in text for words in said(demo))


# The loss.


def batch(tokenizer: HuggingFaceTokenizer, n: int = 6) -> list[Flat]:
    return [demo.trajectory(tokenizer).flat() for demo in first(n, lookup(), stop_early=0.5)]


def plain_loss(model: Any, flats: list[Flat]) -> torch.Tensor:
    """The loss written down: one sequence after the other, whole, and the mean over all own tokens."""
    losses = []
    for flat in flats:
        ids = torch.tensor([*flat.prompt_ids, *flat.response_ids])
        logprobs = torch.log_softmax(model(ids[None]).logits[0], -1)
        start = len(flat.prompt_ids)
        losses += [-logprobs[start + i - 1, ids[start + i]] for i, own in enumerate(flat.loss_mask) if own]
    return torch.stack(losses).mean()


def test_loss_and_gradients_are_those_of_the_formula(blank: Path, tokenizer: HuggingFaceTokenizer) -> None:
    model, flats = load_model(blank, "cpu"), batch(tokenizer)
    assert len({len(flat.attention_mask) for flat in flats}) > 1  # so that something is padded
    found: list[tuple[float, list[torch.Tensor]]] = []
    for loss in (own_token_loss, plain_loss):
        model.zero_grad()
        value = loss(model, flats)
        value.backward()
        found.append((value.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (ours, gradients), (formula, expected) = found
    assert ours == pytest.approx(formula, rel=1e-5)
    assert len(gradients) == len(list(model.parameters()))
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    single = own_token_loss(model, flats[:1]).item()
    assert single == pytest.approx(plain_loss(model, flats[:1]).item(), rel=1e-5)


def test_only_what_predicts_an_own_token_gets_a_gradient(blank: Path, tokenizer: HuggingFaceTokenizer) -> None:
    model, flats = load_model(blank, "cpu"), batch(tokenizer, 3)
    seen: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: torch.Tensor) -> None:
        if output.requires_grad and output.shape[0] == len(flats):
            output.retain_grad()
            seen.append(output)

    handle = model.lm_head.register_forward_hook(keep)
    own_token_loss(model, flats).backward()
    handle.remove()
    (logits,) = seen
    assert logits.grad is not None
    learned = logits.grad.abs().sum(-1) > 0
    length = max(len(flat.attention_mask) for flat in flats)
    first_logit = length - logits.shape[1]
    for row, flat in enumerate(flats):
        own = first_logit + np.flatnonzero(learned[row].numpy()) + 1 - len(flat.prompt_ids)
        assert own.tolist() == np.flatnonzero(flat.loss_mask).tolist()


# Learning.


def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(blank: Path, tmp_path: Path) -> None:
    config = SupervisedConfig(steps=3, batch=4)
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(weights))  # of no concern
        teach(blank, tmp_path / name, Lessons(LOOKUP, CHAINS, count=16, seed=seed), config, device="cpu")
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]
    assert weights[0] != (blank / "model.safetensors").read_bytes()


def test_what_is_shown_is_learned_and_the_folder_tells_how(blank: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "policy", []
    config = SupervisedConfig(steps=25, batch=8, lr=3e-3, warmup=5)
    model = teach(blank, out, LESSONS, config, device="cpu", on_step=seen.append)
    assert seen[-1]["loss"] < 0.6 * seen[0]["loss"]
    lines = [json.loads(line) for line in (out / "sft.jsonl").read_text().splitlines()]
    assert lines == seen
    assert [line["step"] for line in lines] == list(range(1, 26))
    assert json.loads((out / "sft.json").read_text())["lessons"]["env_id"] == LOOKUP
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert all(torch.equal(one, other) for one, other in zip(loaded.parameters(), model.parameters(), strict=True))
    assert HuggingFaceTokenizer.load(out).encode("B73") == HuggingFaceTokenizer.load(blank).encode("B73")
    with pytest.raises(UsageError, match="is there already"):
        teach(blank, out, LESSONS, config)


def test_a_killed_start_goes_on_to_the_same_weights(blank: Path, tmp_path: Path) -> None:
    """A real process, killed behind its second checkpoint or a later one."""
    config = SupervisedConfig(steps=8, batch=4)
    lessons = Lessons(LOOKUP, CHAINS, count=20)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    teach(blank, whole, lessons, config, device="cpu")

    def learn() -> None:
        torch.set_num_threads(1)
        teach(
            blank, torn, lessons, config, device="cpu", checkpoint_every=2, on_step=lambda figures: time.sleep(0.2)
        )  # slow, so that there is time to kill it

    child = multiprocessing.get_context("fork").Process(target=learn)
    child.start()
    while not [step for step in checkpoints(torn) if step.name >= "step-000004"]:
        assert child.is_alive()
        time.sleep(0.01)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert not (torn / "model.safetensors").exists()
    with pytest.raises(UsageError, match="has other lessons"):
        teach(blank, torn, Lessons(LOOKUP, CHAINS, count=21), config, device="cpu", resume=True)
    seen: list[dict[str, float]] = []
    teach(blank, torn, lessons, config, device="cpu", checkpoint_every=2, resume=True, on_step=seen.append)
    assert 4 < seen[0]["step"] < 9
    assert (torn / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (torn / "sft.jsonl").read_text() == (whole / "sft.jsonl").read_text()
    assert {path.name for path in torn.iterdir()} == {path.name for path in whole.iterdir()}
    with pytest.raises(UsageError, match="all was learned"):
        teach(blank, torn, lessons, config, device="cpu", resume=True)
    with pytest.raises(UsageError, match="nothing was begun"):
        teach(blank, tmp_path / "nowhere", lessons, config, device="cpu", resume=True)


def test_all_are_shown_before_one_comes_again(blank: Path, tokenizer: HuggingFaceTokenizer) -> None:
    pool = shown(lookup(), tokenizer, Lessons(LOOKUP, CHAINS, count=5))
    stream = list(islice(endless(pool, seed=0), 15))
    for start in (0, 5, 10):
        assert {id(flat) for flat in stream[start : start + 5]} == {id(flat) for flat in pool}
    assert [id(flat) for flat in stream[:5]] != [id(flat) for flat in stream[5:10]]


def test_the_learning_rate_rises_and_falls() -> None:
    config = SupervisedConfig(steps=100, lr=1.0, warmup=10)
    rates = [config.lr_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.05)


def test_a_demonstration_that_the_context_cannot_hold_is_refused(tokenizer: HuggingFaceTokenizer) -> None:
    with pytest.raises(UsageError, match=r"has \d+ tokens, the model's context 60"):
        shown(lookup(), tokenizer, LESSONS, context=60)


# The commands.


def test_the_command_teaches_and_says_what_came_of_it(
    blank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sft", str(blank), "--env", LOOKUP, "--env-arg", "hops=1", "--env-arg", "branches=1", "--steps", "2"]
    words += ["--batch", "2", "--demonstrations", "4", "--eval-tasks", "2", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "a"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["steps"] == 2
    for name in ("greedy", "sampled"):
        assert document[name]["tasks"] == 2
        assert 0 <= document[name]["success"] <= 1
    assert main([*words, "--eval-tasks", "0", "--out", str(tmp_path / "b")]) == 0
    assert "step 2/2" in capsys.readouterr().err
    assert main([*words[:2], "--out", str(tmp_path / "a")]) == 2
    assert main(["sft", str(tmp_path / "nowhere"), "--out", str(tmp_path / "c")]) == 2
    assert not (tmp_path / "c").exists()


def test_a_policy_is_benchmarked_like_any_agent(
    blank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", LOOKUP, "--agent", f"policy:{blank}", "--dialect", "hermes", "-n", "2", "--env-arg", "hops=1"]
    words += ["--agent-arg", "temperature=1", "--agent-arg", "max_tokens=12"]
    words += ["--agent-arg", "deterministic=true", "--store", str(tmp_path / "store.db"), "--json"]
    for name, concurrency in (("one", "1"), ("two", "2")):
        assert main([*words, "-c", concurrency, "--run", name]) == 0
        document = json.loads(capsys.readouterr().out)
        assert (document["episodes"], document["infra_failures"]) == (2, 0)
    with open_store(str(tmp_path / "store.db")) as store:
        turns = [
            {row.task_id: [turn.action for turn in row.trace().turns] for row in store.run(name).episodes()}
            for name in ("one", "two")
        ]
    assert turns[0] == turns[1]
    assert len(turns[0]) == 2


def test_calls_as_text_need_a_dialect_of_text(blank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "store.db")
    assert main(["eval", LOOKUP, "--agent", f"policy:{blank}", "-n", "1", "--store", store]) == 2
    assert "(--dialect hermes)" in capsys.readouterr().err
    assert main(["eval", LOOKUP, "--agent", "policy:nowhere", "-n", "1", "--store", store]) == 2
    assert "no such folder" in capsys.readouterr().err
