"""The objective against plain loops over Python floats, and what must hold of it whatever the numbers are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

from tir_gym.agents.grpo.config import LossConfig  # noqa: E402
from tir_gym.agents.grpo.loss import k3, policy_loss, row_weight  # noqa: E402
from tir_gym.errors import UsageError  # noqa: E402

few = settings(max_examples=30)  # a backward pass each

LEVELS = ("token", "turn", "sequence")


def reference(logprobs, old, advantages, weight, config, unit, ref, entropy):
    """The docstring's formulas, one token at a time."""
    total = 0.0
    for t in range(len(logprobs)):
        if weight[t] <= 0:
            continue
        if config.ratio == "token":
            members = [t]
        else:
            members = [s for s in range(len(logprobs)) if unit[s] == unit[t] and weight[s] > 0]
        ratio = math.exp(sum(logprobs[s] - old[s] for s in members) / len(members))
        clipped = min(max(ratio, 1 - config.clip_low), 1 + config.clip_high)
        objective = min(ratio * advantages[t], clipped * advantages[t])
        if config.dual_clip is not None and advantages[t] < 0:
            objective = max(objective, config.dual_clip * advantages[t])
        x = ref[t] - logprobs[t]
        divergence = math.exp(x) - x - 1
        total += weight[t] * (-objective + config.kl * divergence - config.entropy * entropy[t])
    return total


@st.composite
def batches(draw):
    """Three to twelve tokens of up to four units, some of them not sampled."""
    k = draw(st.integers(3, 12))
    numbers = st.floats(-3, 3, allow_nan=False, width=32)
    columns = {name: draw(st.lists(numbers, min_size=k, max_size=k)) for name in ("old", "step", "advantages", "ref")}
    mask = draw(st.lists(st.booleans(), min_size=k, max_size=k))
    unit = draw(st.lists(st.integers(0, 3), min_size=k, max_size=k))
    old = np.minimum(np.array(columns["old"]), 0.0)
    return {
        "logprobs": old + np.array(columns["step"]) / 3,
        "old": old,
        "advantages": np.array(columns["advantages"]),
        "weight": np.where(mask, 1.0 / k, 0.0),
        "unit": np.array(unit),
        "ref": np.array(columns["ref"]),
        "entropy": np.abs(np.array(columns["step"])),
    }


def run(batch, config, dtype=torch.float64):
    leaf = torch.tensor(batch["logprobs"], dtype=dtype, requires_grad=True)
    given_ = {name: torch.tensor(batch[name], dtype=dtype) for name in ("old", "advantages", "weight")}
    loss, sums = policy_loss(
        leaf,
        given_["old"],
        given_["advantages"],
        given_["weight"],
        config,
        unit=torch.tensor(batch["unit"]),
        ref_logprobs=torch.tensor(batch["ref"], dtype=dtype),
        entropy=torch.tensor(batch["entropy"], dtype=dtype),
    )
    loss.backward()
    return loss.item(), leaf.grad.numpy(), {name: value.item() for name, value in sums.items()}


configs = st.builds(
    LossConfig,
    ratio=st.sampled_from(LEVELS),
    clip_low=st.sampled_from([0.1, 0.2]),
    clip_high=st.sampled_from([0.2, 0.28]),
    dual_clip=st.sampled_from([None, 2.0]),
    kl=st.sampled_from([0.0, 0.1]),
    entropy=st.sampled_from([0.0, 0.01]),
)


@few
@given(batches(), configs)
def test_loss_equals_the_formulas_taken_token_by_token(batch, config):
    loss, _, _ = run(batch, config)
    columns = (batch[name].tolist() for name in ("logprobs", "old", "advantages", "weight"))
    expected = reference(*columns, config, batch["unit"].tolist(), batch["ref"].tolist(), batch["entropy"].tolist())
    assert loss == pytest.approx(expected, abs=1e-9)


@few
@given(batches(), configs)
def test_tokens_that_were_not_sampled_have_no_gradient_and_no_say(batch, config):
    loss, gradient, _ = run(batch, config)
    outside = batch["weight"] == 0
    assert (gradient[outside] == 0).all()
    assert np.isfinite(gradient).all()
    spoiled = {name: np.where(outside, np.inf, batch[name]) for name in ("logprobs",)}
    again, gradient_again, _ = run({**batch, **spoiled}, config)
    assert again == pytest.approx(loss, abs=1e-12)
    assert np.allclose(gradient_again, gradient, atol=1e-12)


@few
@given(batches())
def test_token_ratio_has_the_derivative_of_the_clipped_objective(batch):
    """d/dlogp of -w min(r A, clip(r) A) is -w r A, or 0 where the clip binds."""
    config = LossConfig()
    _, gradient, sums = run(batch, config)
    ratio = np.exp(batch["logprobs"] - batch["old"])
    advantages, weight = batch["advantages"], batch["weight"]
    high, low = (ratio > 1.2) & (advantages > 0), (ratio < 0.8) & (advantages < 0)
    expected = np.where(high | low, 0.0, -weight * ratio * advantages)
    assert np.allclose(gradient, expected, atol=1e-9)
    assert sums["clip_high"] == (high & (weight > 0)).sum()
    assert sums["clip_low"] == (low & (weight > 0)).sum()


@few
@given(batches())
def test_dual_clip_bounds_what_a_bad_token_can_cost(batch):
    loss_of = {clip: run({**batch, "weight": batch["weight"]}, LossConfig(dual_clip=clip))[0] for clip in (None, 2.0)}
    assert loss_of[2.0] <= loss_of[None] + 1e-12
    worst = -(batch["weight"] * np.where(batch["advantages"] < 0, 2.0, 0.0) * batch["advantages"]).sum()
    assert loss_of[2.0] <= worst + 1e-9


@few
@given(batches())
def test_levels_of_the_ratio_agree_where_the_policy_has_not_moved(batch):
    same = {**batch, "logprobs": batch["old"].copy()}
    found = {level: run(same, LossConfig(ratio=level)) for level in LEVELS}
    for level in ("turn", "sequence"):
        assert found[level][0] == pytest.approx(found["token"][0], abs=1e-12)
        assert np.allclose(found[level][1], found["token"][1], atol=1e-12)


def test_sequence_ratio_is_gspo_where_a_sequence_has_one_advantage():
    """GSPO's own objective, min(s A, clip(s) A) with s = (pi/pi_old)^(1/length), gives the same gradient."""
    logprobs = torch.tensor([-1.0, -2.0, -0.5, -1.5], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([-1.05, -1.9, -0.5, -1.52], dtype=torch.float64)
    sequence, advantage = torch.tensor([0, 0, 1, 1]), torch.tensor([1.5, -0.7], dtype=torch.float64)
    weight = torch.full((4,), row_weight(2, 4, 2, normalise="sequence", budget=0), dtype=torch.float64)
    config = LossConfig(ratio="sequence", clip_low=0.2, clip_high=0.2)
    ours, _ = policy_loss(logprobs, old, advantage[sequence], weight, config, unit=sequence)
    (our_gradient,) = torch.autograd.grad(ours, logprobs)
    s = (logprobs - old).reshape(2, 2).mean(1).exp()
    theirs = -torch.minimum(s * advantage, s.clamp(0.8, 1.2) * advantage).mean()
    (their_gradient,) = torch.autograd.grad(theirs, logprobs)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-12)
    assert torch.allclose(our_gradient, their_gradient, atol=1e-12)


@given(st.lists(st.floats(-8, 0), min_size=1, max_size=20), st.lists(st.floats(-8, 0), min_size=20, max_size=20))
def test_k3_is_never_negative_and_zero_only_between_equals(ours, theirs):
    a, b = torch.tensor(ours, dtype=torch.float64), torch.tensor(theirs[: len(ours)], dtype=torch.float64)
    found = k3(a, b)
    assert (found >= 0).all()
    assert (k3(a, a) == 0).all()
    assert ((found > 0) | ((a - b).abs() < 1e-6)).all()


def test_k3_over_the_policys_own_tokens_is_the_divergence():
    p, q = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
    mean = (p * k3(p.log(), q.log())).sum()
    assert mean.item() == pytest.approx((p * (p.log() - q.log())).sum().item(), abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_lengths_are_normalised_as_named(lengths):
    tokens, rows = float(sum(lengths)), float(len(lengths))

    def total(normalise):
        return [n * row_weight(n, tokens, rows, normalise=normalise, budget=100) for n in lengths]

    assert sum(total("token")) == pytest.approx(1.0)
    assert sum(total("sequence")) == pytest.approx(1.0)
    assert total("sequence") == pytest.approx([1 / rows] * len(lengths))
    assert total("dr_grpo") == pytest.approx([n / (100 * rows) for n in lengths])


def test_what_a_penalty_needs_is_asked_for():
    one = torch.zeros(1)
    for config, name in ((LossConfig(kl=0.1), "reference"), (LossConfig(entropy=0.1), "entropy")):
        with pytest.raises(UsageError, match=name):
            policy_loss(one, one, one, one + 1, config)
    with pytest.raises(UsageError, match="share a ratio"):
        policy_loss(one, one, one, one + 1, LossConfig(ratio="turn"))
