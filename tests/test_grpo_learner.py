"""Batches and learner on a real model: what is packed, cut, adapted or halved is still the same policy."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")
pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

from grpo_policy import random_rows, write_model  # noqa: E402

from tir_gym.agents.grpo.batches import micro_batches, token_logprobs  # noqa: E402
from tir_gym.agents.grpo.config import load_config  # noqa: E402
from tir_gym.agents.grpo.grpo import learning_rate, update  # noqa: E402
from tir_gym.agents.grpo.learner import Learner  # noqa: E402
from tir_gym.errors import UsageError  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    torch.set_num_threads(1)
    return write_model(tmp_path_factory.mktemp("policy"))


SETTINGS = ("rollout.context=256", "optim.schedule=constant", "optim.warmup=0", "optim.minibatches=2")


def config_of(policy, *overrides):
    return load_config(given={"policy": policy, "device": "cpu"}, overrides=[*SETTINGS, *overrides])


def sampled_logprobs(model, rows, **how):
    """The log-probability of every sampled token, in an order that does not depend on how they were batched."""
    found = []
    for batch in micro_batches(rows, [1.0] * len(rows), device=CPU, **how):
        logprobs, entropy = token_logprobs(model, batch, 1.0)
        kept = batch.mask
        old = batch.old_logprobs[kept].tolist()
        found += zip(old, logprobs[kept].tolist(), entropy[kept].tolist(), strict=True)
    return np.array(sorted(found))


def test_packed_padded_and_single_sequences_have_the_same_logprobs(policy):
    model = Learner(config_of(policy)).model
    rows = random_rows(9)
    alone = sampled_logprobs(model, rows, budget=1, packing=False)
    assert len(alone) == sum(row.sampled for row in rows)
    # What transformers itself says of one sequence.
    row = rows[0]
    logits = model(input_ids=torch.from_numpy(row.ids)[None]).logits[0].log_softmax(-1)
    direct = [logits[t - 1, row.ids[t]].item() for t in np.flatnonzero(row.mask)]
    ours = sampled_logprobs(model, [row], budget=1, packing=False)
    assert np.allclose(sorted(ours[:, 1]), sorted(direct), atol=1e-5)
    for packing, budget in ((False, 100), (False, 10**6), (True, 100), (True, 10**6)):
        assert np.allclose(sampled_logprobs(model, rows, budget=budget, packing=packing), alone, atol=2e-5)


def trained(policy, *overrides, rows=None, steps=2):
    config = config_of(policy, *overrides)
    learner = Learner(config)
    figures = [update(learner, rows or random_rows(8), config, step) for step in range(steps)]
    return learner, figures


def apart(one, other):
    ours, theirs = one.weights(), other.weights()
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def test_the_update_does_not_depend_on_how_batches_are_cut(policy):
    start = Learner(config_of(policy))
    whole, (figures, _) = trained(policy, "loss.ratio=turn", "loss.normalise=sequence")
    assert apart(whole, start) > 1e-4
    assert figures["updates"] == 2
    assert figures["grad_norm"] > 0
    for overrides in (["model.micro_tokens=64"], ["model.packing=true"], ["model.checkpoint_activations=true"]):
        other, _ = trained(policy, "loss.ratio=turn", "loss.normalise=sequence", *overrides)
        assert apart(other, whole) < 2e-5, overrides


@pytest.mark.parametrize("alike", [0, 1, 30])
def test_what_rows_begin_with_is_computed_once_and_counts_for_each(policy, alike):
    rows = random_rows(9, alike=alike)
    model = Learner(config_of(policy)).model
    alone = sampled_logprobs(model, rows, budget=1, packing=False)
    for budget in (200, 10**6):
        found = sampled_logprobs(model, rows, budget=budget, packing=False, sharing=True)
        assert np.allclose(found, alone, atol=2e-5)
    whole = list(micro_batches(rows, [1.0] * 9, budget=10**6, packing=False, device=CPU, sharing=True))
    assert [batch.common >= alike for batch in whole] == [True]
    assert max(batch.common for batch in micro_batches(rows[:1], [1.0], budget=1, packing=False, device=CPU)) == 0
    shared, _ = trained(policy, "model.share_beginning=true", rows=rows)
    assert apart(shared, trained(policy, "model.share_beginning=false", rows=rows)[0]) < 2e-5


def test_only_what_was_sampled_teaches(policy):
    """Other old log-probabilities and advantages where the mask is 0 change nothing."""
    rows = random_rows(6)
    noisy = [
        replace(
            row, advantages=np.where(row.mask, row.advantages, 7).astype(np.float32), logprobs=row.logprobs - ~row.mask
        )
        for row in rows
    ]
    assert apart(trained(policy, rows=rows)[0], trained(policy, rows=noisy)[0]) == 0.0


def test_penalties_are_taken_and_the_reference_stays(policy):
    learner, figures = trained(policy, "loss.kl=0.1", "loss.entropy=0.01", steps=3)
    assert figures[0]["kl"] >= 0
    assert figures[2]["kl"] > figures[0]["kl"]  # the policy has moved away, the reference has not
    assert 0 < figures[0]["entropy"] < np.log(64) + 1e-3
    assert apart(learner, trained(policy, steps=3)[0]) > 1e-6


def test_adapters_learn_are_saved_and_leave_the_weights_alone(policy, tmp_path):
    overrides = ("model.lora.r=4", "loss.kl=0.1", "optim.lr=1e-2", "optim.minibatches=1")
    learner, figures = trained(policy, *overrides)
    assert sum(p.numel() for p in learner.trained) < 10_000
    assert figures[0]["kl"] == pytest.approx(0, abs=1e-6)  # adapters begin as nothing: the reference is the policy
    assert figures[1]["kl"] > 0
    start = Learner(config_of(policy))
    assert apart(learner, start) > 1e-4
    weights = learner.weights()
    learner.save_policy(tmp_path / "checkpoint" / "policy", weights)
    again = Learner(config_of(policy, *overrides), tmp_path / "checkpoint")
    assert apart(again, learner) == 0.0
    learner.publish(tmp_path / "whole", weights)
    assert apart(Learner(config_of(str(tmp_path / "whole"))), learner) < 1e-6


def test_bfloat16_is_near_and_its_weights_are_float32(policy):
    half, figures = trained(policy, "model.precision=bf16", "deterministic=false", steps=1)
    _, exact = trained(policy, steps=1)
    assert all(p.dtype == torch.float32 for p in half.trained)
    assert figures[0]["entropy"] == pytest.approx(exact[0]["entropy"], rel=0.02)
    assert figures[0]["entropy"] != exact[0]["entropy"]


def test_learning_rate_rises_and_falls_as_asked(policy):
    optim = config_of(policy, "optim.lr=1.0", "optim.schedule=linear", "optim.warmup=3").optim
    rates = [learning_rate(optim, step, 10) for step in range(10)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[-1] == pytest.approx(0.0)
    assert all(a > b for a, b in pairwise(rates[3:]))
    constant = config_of(policy, "optim.lr=1.0").optim
    assert [learning_rate(constant, step, 10) for step in range(3)] == [1.0, 1.0, 1.0]


def test_a_policy_that_is_not_there_is_told_in_a_line(tmp_path):
    with pytest.raises(UsageError, match="no causal language model") as caught:
        Learner(config_of(str(tmp_path)))
    assert "\n" not in str(caught.value)
