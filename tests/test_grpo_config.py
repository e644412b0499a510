"""Settings of a training run: where they come from, how faults are told, what a run would need."""

import json
import tomllib

import pytest

from tir_gym.agents.grpo.config import PRESETS, load_config, to_toml
from tir_gym.agents.grpo.estimate import KNOWN, dimensions, estimate
from tir_gym.errors import UsageError


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_is_the_same_after_toml(preset):
    config = load_config(preset=preset, overrides=["env.options.hops=[2,5]", "loss.dual_clip=3.0"])
    assert load_config(base=tomllib.loads(to_toml(config))) == config


def test_file_wins_over_preset_and_command_line_over_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "gpu-small"\n[optim]\nlr = 2e-4\nwarmup = 7\n[env.options]\nhops = 3\n')
    config = load_config(file=file, given={"policy": "p"}, overrides=["optim.lr=3e-5", "loss.ratio=turn"])
    assert (config.optim.lr, config.optim.warmup, config.loss.ratio, config.policy) == (3e-5, 7, "turn", "p")
    assert config.optim.minibatches == PRESETS["gpu-small"]["optim"]["minibatches"]
    assert config.env.options == {"hops": 3, "branches": 1}


def test_the_papers_presets_have_the_papers_numbers():
    for size in ("4b", "8b"):
        config = load_config(preset=f"matchtir-qwen3-{size}")
        assert (config.rollout.prompts, config.rollout.group, config.rollout.temperature) == (256, 16, 1.0)
        assert (config.optim.lr, config.loss.clip_low, config.loss.clip_high, config.loss.kl) == (1e-6, 0.2, 0.2, 0.001)
        assert (config.env.max_turns, config.advantage.arguments["gamma"]) == (10, 0.9)
        assert config.hindsight


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optim.lrr=1", "no setting 'optim.lrr'; did you mean optim.lr?"),
        ("optim.lr=fast", "optim.lr='fast'"),
        ("rollout.group=1", "rollout.group=1: .*greater than or equal to 2"),
        ("advantage.estimator=dul", "no advantage estimator 'dul'"),
        ("advantage.estimator=steps_gae", "needs values, which rollouts lack"),
        ("advantage.options.lambda=1", "takes no 'lambda'; it takes gamma"),
        ("env.reward=generous", "no reward preset 'generous'"),
        ("loss.ratio", "write NAME=VALUE"),
        ("ahead=1", "deterministic=false"),
        ("rollout.engine=server", "needs rollout.urls"),
        ("optim.min_lr=1.0", "above optim.lr"),
    ],
)
def test_a_fault_is_told_in_one_line(override, said):
    with pytest.raises(UsageError, match=said) as caught:
        load_config(overrides=[override])
    assert "\n" not in str(caught.value)


def test_arguments_of_the_estimator_are_those_that_it_takes():
    assert load_config().advantage.arguments == {"gamma": 0.9, "combine": "mean", "singleton": "zero"}
    assert load_config(overrides=["advantage.estimator=grpo"]).advantage.arguments == {"singleton": "zero"}
    assert load_config(overrides=["advantage.options.gamma=1.0"]).advantage.arguments["gamma"] == 1.0


def test_rewards_that_come_at_the_end_are_taken_in_hindsight():
    assert not load_config().hindsight
    assert load_config(overrides=["env.reward=paper-soft"]).hindsight
    assert not load_config(overrides=["env.reward=paper-soft", "advantage.rewards=online"]).hindsight


def test_sizes_of_known_policies_are_those_that_their_names_say():
    assert KNOWN["Qwen/Qwen3-4B"].parameters == pytest.approx(4.02e9, rel=0.01)
    assert KNOWN["Qwen/Qwen3-8B"].parameters == pytest.approx(8.19e9, rel=0.01)


def test_an_estimate_downloads_nothing_and_counts_what_is_there(tmp_path):
    with pytest.raises(UsageError, match="an estimate knows Qwen/Qwen3-4B"):
        dimensions("somebody/unknown-70b")
    known = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    (tmp_path / "config.json").write_text(json.dumps({**known, "vocab_size": 500}))
    dims = dimensions(str(tmp_path))
    assert dims.parameters == 2 * 500 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 128)
    rows = {what: amount for what, amount, _ in estimate(load_config(given={"policy": str(tmp_path)}), gpus=0)}
    assert rows["tokens of a step"] == f"{16 * 8 * 341:,}"
    big = {what: amount for what, amount, _ in estimate(load_config(preset="matchtir-qwen3-8b"), gpus=8)}
    lora = load_config(preset="matchtir-qwen3-8b", overrides=["model.lora.r=16"])
    small = {what: amount for what, amount, _ in estimate(lora, gpus=8)}
    assert gib(big["optimiser"]) == pytest.approx(8.19e9 * 8 / 8 / 2**30, rel=0.01)
    assert gib(small["memory of each device"]) < gib(big["memory of each device"])


def gib(text):
    number, unit = text.replace(",", "").split()
    return float(number) / (1 if unit == "GiB" else 1024)


def test_options_of_one_environment_or_estimator_are_not_given_to_another() -> None:
    assert load_config(given={"env.id": "tir_gym/Calculator-v0"}).env.options == {}
    kept = load_config(given={"env.id": "tir_gym/Calculator-v0"}, overrides=["env.options.steps=3"])
    assert kept.env.options == {"steps": 3}
    assert load_config(overrides=["env.options.hops=2"]).env.options["branches"] == 1
    assert load_config(overrides=["env.options={}"]).env.options == {}
    grouped = load_config(preset="matchtir-qwen3-4b", overrides=["advantage.estimator=grpo"])
    assert "combine" not in grouped.advantage.arguments


def test_what_cannot_be_deterministic_is_refused_before_anything_is_loaded() -> None:
    for settings in (["model.precision=bf16"], ["device=cuda"], ["rollout.engine=vllm"]):
        with pytest.raises(UsageError, match="set deterministic=false"):
            load_config(overrides=settings)
        assert not load_config(overrides=[*settings, "deterministic=false"]).deterministic
