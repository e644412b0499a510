"""What a training run depends on, as one record: defaults, then a preset, a TOML file, and `a.b=value` on top.

Every field says its unit, and where a formula has a source, the source. Nothing heavy is imported here, so a mistake
in a setting is told before a model is loaded.
"""

from __future__ import annotations

import difflib
import inspect
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tir_gym.advantages import get_estimator, needs
from tir_gym.errors import UsageError
from tir_gym.rewards import RewardSpec, get_reward


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class EnvConfig(_Section):
    """Where episodes are played."""

    id: str = "tir_gym/Lookup-v0"
    options: dict[str, Any] = Field(default_factory=dict)
    """For its constructor, such as `hops = [1, 3]`."""
    dialect: str = "hermes"
    """How the policy writes calls."""
    reward: str | dict[str, Any] = "default"
    """A preset by name, or the fields of a `RewardSpec`."""
    max_turns: int | None = Field(default=None, ge=1)
    """Instead of the task's own."""

    def make_options(self, split: str) -> dict[str, Any]:
        """All options of the constructor."""
        given: dict[str, Any] = {"dialect": self.dialect, "reward": self.reward, "split": split}
        if self.max_turns is not None:
            given["max_turns"] = self.max_turns
        return given | self.options

    def spec(self) -> RewardSpec:
        return get_reward(self.reward)


class ForkConfig(_Section):
    """Several ways on from one moment of an episode; see `tir_gym.rollout.Branching`."""

    width: int = Field(default=0, ge=0)
    """Forks at each turn that is forked; 0 for none."""
    turns: int = Field(default=1, ge=1)
    depth: int = Field(default=1, ge=1)
    surprise: float = Field(default=0.5, ge=0)


class RolloutConfig(_Section):
    """What is sampled for one step."""

    prompts: int = Field(default=16, ge=1)
    """Tasks of a step."""
    group: int = Field(default=8, ge=2)
    """Rollouts of each task, which are compared with each other."""
    tasks: int | None = Field(default=None, ge=1)
    """Number of different training tasks; unlimited, or all of a data set, if absent."""
    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Below 1 the sampled tokens are not those of the distribution that the loss is about."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens of one turn at most."""
    context: int = Field(default=4096, ge=2)
    """Tokens of a whole rollout at most, prompt and tool output included."""
    fork: ForkConfig = ForkConfig()
    """Rollouts that share their first turns, beside those of the group; for `advantage.estimator="tree"`."""
    concurrency: int = Field(default=128, ge=1)
    """Rollouts under way at the same time."""
    engine: Literal["local", "vllm", "server"] = "local"
    urls: list[str] = Field(default_factory=list)
    """Of the servers, such as `http://localhost:8000/v1`, for `engine="server"`."""
    model: str = ""
    """Its name at the servers; the policy's if absent."""
    options: dict[str, Any] = Field(default_factory=dict)
    """For the engine's constructor."""


class AdvantageConfig(_Section):
    """From turn rewards to advantages."""

    estimator: str = "dual"
    """A name of `tir_gym.advantages.ESTIMATORS`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Its arguments. Where they are not given, `gamma` is 0.9, `combine` is "mean" and `singleton` is "zero", for those
    that take them: a turn that nobody else reaches is no evidence."""
    rewards: Literal["auto", "online", "hindsight"] = "auto"
    """What each turn is paid: by its step, or when the episode has ended (`info["turn_rewards"]`). `auto`: online,
    unless the reward pays nothing before the last turn, as soft matching does."""

    @model_validator(mode="after")
    def _known(self) -> AdvantageConfig:
        takes = inspect.signature(get_estimator(self.estimator)).parameters
        missing = set(needs(self.estimator)) - _HELD
        if missing:
            raise ValueError(f"estimator {self.estimator!r} needs {', '.join(sorted(missing))}, which rollouts lack")
        unknown = sorted(set(self.options) - set(takes))
        if unknown:
            raise ValueError(
                f"estimator {self.estimator!r} takes no {unknown[0]!r}; it takes {', '.join(list(takes)[2:])}"
            )
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """All of them, for the estimator."""
        takes = inspect.signature(get_estimator(self.estimator)).parameters
        return {name: value for name, value in _USUAL.items() if name in takes} | self.options


_HELD = {"state_keys", "parents", "forked_at"}
"""What estimators ask for and rollouts can tell."""

_USUAL = {"gamma": 0.9, "combine": "mean", "singleton": "zero"}


class FilterConfig(_Section):
    """Which rollouts the loss is taken over. Infrastructure failures never count."""

    zero_spread: bool = True
    """Leave out groups in which every advantage is 0 (DAPO's dynamic sampling, arXiv 2503.14476, without sampling
    again): they teach nothing, and would only thin out the others where losses are averaged."""
    over_turns: Literal["keep", "mask"] = "keep"
    """Rollouts that ran into the budget of turns: `mask` keeps them in their group's statistics, not in the loss."""
    over_long: Literal["keep", "mask"] = "keep"
    """Likewise those that ran into a budget of tokens (DAPO's overlong filtering)."""


class LossConfig(_Section):
    """The objective; formulas in `loss.py`."""

    ratio: Literal["token", "turn", "sequence"] = "token"
    """What shares a ratio. `sequence` is GSPO, whose clips are near 3e-4."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.2, gt=0)
    """Above `clip_low` it is DAPO's clip-higher (0.28)."""
    dual_clip: float | None = Field(default=None, gt=1)
    """Bound on the ratio of bad tokens, such as 3."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of the divergence from the policy that training began with; 0 loads no reference."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus. Entropy is logged anyway."""
    normalise: Literal["token", "sequence", "dr_grpo"] = "token"
    """How lengths count; see `row_weight`."""


class OptimConfig(_Section):
    """AdamW and how often it steps."""

    lr: float = Field(default=3e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Down to `min_lr` at the last step."""
    warmup: int = Field(default=0, ge=0)
    """Training steps over which lr rises from 0."""
    min_lr: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=1, ge=1)
    """Passes over the rollouts of a step."""
    minibatches: int = Field(default=2, ge=1)
    """Optimiser steps per pass."""
    max_grad_norm: float = Field(default=1.0, gt=0)


class LoraConfig(_Section):
    """Low-rank adapters, by peft (arXiv 2106.09685)."""

    r: int = Field(default=0, ge=0)
    """Rank; 0 trains all weights."""
    alpha: int = Field(default=32, ge=1)
    targets: str | list[str] = "all-linear"


class ModelConfig(_Section):
    """How the policy is loaded and computed."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` computes in bfloat16 over float32 weights, so that small learning rates still move them."""
    checkpoint_activations: bool = False
    """Keep only the inputs of layers and compute the rest again: less memory, a third more compute."""
    packing: bool = False
    """Lay sequences end to end, each seeing only itself. Pays with flash attention; elsewhere padding is cheaper."""
    share_beginning: bool = False
    """Compute what all sequences of a forward pass begin with, such as the list of tools, once. Packed sequences,
    checkpointed activations and several learner processes do without."""
    attention: str = "sdpa"
    """transformers' name, such as `sdpa` or `flash_attention_2`."""
    micro_tokens: int = Field(default=16384, ge=1)
    """Tokens of one forward pass, padding included; a longer sequence goes alone."""
    lora: LoraConfig = LoraConfig()


class EvalConfig(_Section):
    """Held-out tasks, greedy and sampled."""

    every: int = Field(default=10, ge=0)
    """Steps; 0 for never. The first evaluation is before the first step, the last after the last one."""
    tasks: int = Field(default=64, ge=1)
    sampled: bool = True
    """Whether to sample as in training too."""


class CheckpointConfig(_Section):
    every: int = Field(default=10, ge=0)
    """Steps; 0 for only the last."""
    keep: int = Field(default=2, ge=1)
    """The newest ones."""


class LogConfig(_Section):
    tensorboard: bool = True
    wandb: str | None = None
    """Project; needs the package wandb."""
    store: str | None = None
    """Trace store for rollouts; `OUT/rollouts.db` if absent."""
    groups: float = Field(default=0.1, ge=0, le=1)
    """Share of the groups whose episodes are stored."""


class GrpoConfig(_Section):
    """A training run."""

    preset: str = "quick-cpu"
    """Where the values came from."""
    policy: str = ""
    """Folder or name of a Hugging Face causal LM."""
    out: str = "outputs/grpo"
    """Folder of the run: config, metrics, checkpoints, the trained policy."""
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=40, ge=1)
    deterministic: bool = True
    """Rollouts that have random numbers of their own, in a fixed order: a resumed run is the run uninterrupted."""
    ahead: int = Field(default=0, ge=0, le=8)
    """Batches sampled before they are due, while the learner still works on older ones; not with `deterministic`."""
    device: str = "auto"
    """torch's name; `auto` takes a GPU where there is one."""
    env: EnvConfig = EnvConfig()
    rollout: RolloutConfig = RolloutConfig()
    advantage: AdvantageConfig = AdvantageConfig()
    filter: FilterConfig = FilterConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    model: ModelConfig = ModelConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> GrpoConfig:
        self.env.spec()
        if self.rollout.fork.width and self.hindsight:
            raise ValueError("rollout.fork: in hindsight, rollouts are not paid alike for the turns that they share")
        if self.ahead and self.deterministic:
            raise ValueError(f"ahead={self.ahead} samples while weights change; it goes with deterministic=false")
        if self.rollout.engine == "server" and not self.rollout.urls:
            raise ValueError('rollout.engine="server" needs rollout.urls, such as ["http://localhost:8000/v1"]')
        if self.deterministic and (
            self.rollout.engine != "local" or self.model.precision != "fp32" or self.device.startswith("cuda")
        ):
            raise ValueError(
                'deterministic=true needs rollout.engine="local", model.precision="fp32" and device="cpu"; '
                "set deterministic=false"
            )
        if self.optim.min_lr > self.optim.lr:
            raise ValueError(f"optim.min_lr={self.optim.min_lr} is above optim.lr={self.optim.lr}")
        return self

    @property
    def hindsight(self) -> bool:
        """Whether turns are paid in hindsight."""
        if self.advantage.rewards == "auto":
            return self.env.spec().hindsight_only
        return self.advantage.rewards == "hindsight"


_MATCHTIR: dict[str, Any] = {
    "steps": 100,
    "deterministic": False,
    # MatchTIR (arXiv 2601.10712), section 4: batch 256, 16 rollouts, lr 1e-6, clip 0.2, KL 0.001, gamma 0.9, 10 turns.
    "env": {"id": "tir_gym/Assistant-v0", "reward": "paper-hard", "max_turns": 10},
    "rollout": {
        "prompts": 256,
        "group": 16,
        "temperature": 1.0,
        "max_tokens": 2048,
        "context": 30000,
        "concurrency": 512,
        "engine": "server",
        "urls": ["http://localhost:8000/v1"],
    },
    "advantage": {
        "options": {"gamma": 0.9, "combine": "sum", "singleton": "raw"},
        "rewards": "hindsight",
    },
    "filter": {"zero_spread": False},
    "loss": {"clip_low": 0.2, "clip_high": 0.2, "kl": 0.001, "normalise": "token"},
    "optim": {"lr": 1e-6, "minibatches": 8},
    "model": {
        "precision": "bf16",
        "checkpoint_activations": True,
        "packing": True,
        "attention": "flash_attention_2",
        "micro_tokens": 32768,
    },
    "eval": {"every": 10, "tasks": 128},
    "log": {"groups": 0.02},
}

PRESETS: dict[str, dict[str, Any]] = {
    "quick-cpu": {
        "device": "cpu",
        "steps": 24,
        "env": {"options": {"hops": [1, 3], "branches": 1, "distractors": 1}},
        "rollout": {"max_tokens": 48, "context": 1024},
        # Adam's first steps are as long as lr allows, and a policy that is sure of its tokens does not survive them.
        "optim": {"lr": 3e-4, "schedule": "linear", "warmup": 3, "minibatches": 4},
        "model": {"micro_tokens": 4096, "share_beginning": True},
        "eval": {"every": 8},
    },
    "gpu-small": {
        "steps": 200,
        "deterministic": False,
        "env": {"options": {"hops": [1, 6], "branches": 1}},
        "rollout": {"prompts": 64, "group": 16, "max_tokens": 64, "context": 2048, "concurrency": 1024},
        "optim": {"lr": 1e-4, "minibatches": 4, "schedule": "linear", "warmup": 5},
        "model": {"precision": "bf16", "micro_tokens": 65536},
        "eval": {"every": 20, "tasks": 256},
        "log": {"groups": 0.02},
    },
    "matchtir-qwen3-4b": {"policy": "Qwen/Qwen3-4B", **_MATCHTIR},
    "matchtir-qwen3-8b": {"policy": "Qwen/Qwen3-8B", **_MATCHTIR},
}


def load_config(
    *,
    preset: str | None = None,
    file: str | Path | None = None,
    base: Mapping[str, Any] | None = None,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> GrpoConfig:
    """A config from all that speaks of it; what comes later wins.

    Args:
        preset: A name of `PRESETS`; the file's own `preset` or `quick-cpu` if absent.
        file: TOML with the same sections.
        base: A whole config instead of a preset, as when a run is resumed.
        given: Values by dotted name, as a command's own options.
        overrides: `a.b=value`, the value in TOML; a bare word is text.

    Raises:
        UsageError: No such preset, key or file, or a value that cannot be; in one line.
    """
    read = _read_toml(Path(file)) if file is not None else {}
    if base is None:
        name = preset or read.get("preset", "quick-cpu")
        if name not in PRESETS:
            raise UsageError(f"no preset {name!r}; choose one of {', '.join(PRESETS)}")
        base = {"preset": name, **PRESETS[name]}
    asked = [{key: value for key, value in read.items() if key != "preset"}]
    asked += [_nested(key.split("."), value) for key, value in [*(given or {}).items(), *map(_override, overrides)]]
    values = reduce(_merged, asked, base)
    # Options of one environment or estimator mean nothing to another.
    for section, name in (("env", "id"), ("advantage", "estimator")):
        default = getattr(GrpoConfig.model_fields[section].default, name)
        before, now = (_section(settings, section).get(name, default) for settings in (base, values))
        if now != before and "options" in _section(base, section):
            base = {**base, section: {key: value for key, value in base[section].items() if key != "options"}}
            values = reduce(_merged, asked, base)
    try:
        return GrpoConfig.model_validate(values)
    except ValidationError as error:
        raise UsageError(_first_fault(error)) from None


def to_toml(config: GrpoConfig) -> str:
    """The whole config as TOML; `load_config(base=tomllib.loads(text))` gives it back. What is `None` is left out."""
    return "\n".join(_toml_lines(config.model_dump(mode="json"), ())) + "\n"


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}") from None


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"{text!r}: write NAME=VALUE, such as optim.lr=3e-4")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value  # a bare word: TOML has quotes around text, shells take them away


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value  # type: ignore[no-any-return]


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged; anything else is replaced, and an empty section empties."""
    result = dict(under)
    for key, value in over.items():
        mine = result.get(key)
        both = isinstance(value, Mapping) and bool(value) and isinstance(mine, Mapping)
        result[key] = _merged(mine, value) if both else value  # type: ignore[arg-type]
    return result


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(_names(GrpoConfig, ())), n=1, cutoff=0.4)
        return f"no setting {name!r}" + (f"; did you mean {near[0]}?" if near else "")
    reason = fault["msg"].removeprefix("Value error, ")
    if not name:
        return reason
    value = fault["input"]
    return f"{name}={value!r}: {reason}" if not isinstance(value, dict) else f"{name}: {reason}"


def _names(section: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _names(kind, (*path, name))
        else:
            yield ".".join((*path, name))


def _toml_lines(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, Mapping)}
    if path:
        yield f"\n[{'.'.join(map(_toml_key, path))}]"
    for key, value in plain.items():
        yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _toml_lines(value, (*path, key))


def _toml_key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = (f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items() if item is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value)  # TOML's numbers, truth values and texts are JSON's, but for \x7f, which no setting holds
