"""Training of the reference agent: MaskablePPO of sb3-contrib on `DiscreteTools`, saved as a folder.

Nothing of the algorithm is here. The folder holds `policy.pt`, the network's weights and nothing that could run;
`ppo.json`, what they were trained for and with; and `log.jsonl`, a line for each batch of experience.

PPO: Schulman et al. 2017. Masking of invalid actions: Huang and Ontanon 2022.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
from pydantic import Field, ValidationError

from tir_gym.agents.ppo.discrete import DiscreteTools
from tir_gym.env import ToolEnv
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.records import Record

if TYPE_CHECKING:
    from sb3_contrib import MaskablePPO

POLICY_FILE, ABOUT_FILE, LOG_FILE = "policy.pt", "ppo.json", "log.jsonl"


class PPOConfig(Record):
    """What a training run depends on besides its environment. The same config gives the same policy on one machine."""

    steps: int = Field(default=200_000, ge=1)
    """Actions in all, forbidden and unfinished ones included; rounded up to whole batches."""
    seed: int = Field(default=0, ge=0)
    masked: bool = True
    """Whether forbidden actions are masked; without, the environment's price for them has to teach it."""
    envs: int = Field(default=8, ge=1)
    """Environments stepped in turn."""
    horizon: int = Field(default=128, ge=2)
    """Actions of each environment in a batch of experience."""
    minibatch: int = Field(default=256, ge=2)
    epochs: int = Field(default=6, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    """Falls to a tenth over the run."""
    gamma: float = Field(default=0.95, ge=0, le=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    clip: float = Field(default=0.2, gt=0)
    entropy: float = Field(default=0.01, ge=0)
    """Weight of the policy's entropy in the objective."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the layers, of policy and value each."""
    slots: int = Field(default=16, ge=1)
    """As `Discretiser` has it."""
    mentions: int = Field(default=24, ge=1)
    """Likewise."""
    answer_values: int = Field(default=1, ge=1)
    """Likewise."""


class TrainedPolicy(Record):
    """`ppo.json`: what a policy's weights go with."""

    version: Literal[1] = 1
    env_id: str
    env_options: dict[str, Any]
    tools: tuple[dict[str, Any], ...]
    """Those that its actions are made of, in OpenAI's form."""
    config: PPOConfig
    versions: dict[str, str]


class Progress(Record):
    """A batch of experience, as a line of `log.jsonl`."""

    steps: int
    """Actions so far."""
    episodes: int
    """That ended in this batch; the other figures are theirs."""
    success: float | None
    """Share of episodes done, `None` without episodes."""
    mean_return: float | None
    invalid_actions: int
    """Forbidden ones played in this batch."""
    cpu_seconds: float
    """Of this process since training began."""


def train(
    make_env: Callable[[], ToolEnv],
    folder: Path,
    config: PPOConfig,
    *,
    env_id: str,
    env_options: dict[str, Any],
    on_progress: Callable[[Progress], None] | None = None,
) -> TrainedPolicy:
    """Train a policy and save it.

    Args:
        make_env: An environment, unwrapped; called `config.envs` times.
        folder: Where the policy goes; made where it is not.
        config: How.
        env_id: For the record.
        env_options: Likewise.
        on_progress: Called after each batch of experience.

    Raises:
        MissingExtra: sb3-contrib is not installed.
        UsageError: The folder holds a policy already, or the environment has no tools.
    """
    _need_sb3()
    if (folder / ABOUT_FILE).exists():
        raise UsageError(f"{folder} holds a policy already; name another folder, or remove it first")
    from importlib.metadata import version

    import sb3_contrib

    first, make_all = _wrapped(make_env, config)
    folder.mkdir(parents=True, exist_ok=True)
    model = _model(make_all, config)
    try:
        with (folder / LOG_FILE).open("w", encoding="utf-8") as log:

            def record(progress: Progress) -> None:
                log.write(progress.model_dump_json() + "\n")
                log.flush()
                if on_progress is not None:
                    on_progress(progress)

            model.learn(config.steps, callback=_callback(record), use_masking=config.masked)
    finally:
        assert model.env is not None
        model.env.close()
    about = TrainedPolicy(
        env_id=env_id,
        env_options=env_options,
        tools=first.tools,
        config=config,
        versions={name: version(name) for name in ("tir-gym", "torch", "stable-baselines3")}
        | {"sb3-contrib": sb3_contrib.__version__},
    )
    import torch

    torch.save(model.policy.state_dict(), folder / POLICY_FILE)
    # Last, so that a folder with it is complete.
    (folder / ABOUT_FILE).write_text(about.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return about


def read_about(folder: Path) -> TrainedPolicy:
    """What a folder's policy was trained for and with.

    Raises:
        UsageError: It holds no policy that this version reads.
    """
    try:
        return TrainedPolicy.model_validate_json((folder / ABOUT_FILE).read_bytes())
    except OSError:
        raise UsageError(
            f"{folder} holds no {ABOUT_FILE}; give a folder that `tir-gym train-ppo` has written"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{folder / ABOUT_FILE} cannot be read: {place}: {first['msg']}") from None


def make_network(about: TrainedPolicy, n_features: int, n_actions: int) -> Any:
    """The network without weights: a `MaskableActorCriticPolicy`.

    Raises:
        MissingExtra: sb3-contrib is not installed.
    """
    _need_sb3()
    import numpy as np
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

    return MaskableActorCriticPolicy(
        gymnasium.spaces.Box(0.0, 1.0, (n_features,), np.float32),
        gymnasium.spaces.Discrete(n_actions),
        lambda _: about.config.learning_rate,
        net_arch=list(about.config.hidden),
    )


class _Lean(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Says of an episode no more than is counted: stable-baselines3 copies every info, explanations and all."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        features, _ = self.env.reset(**options)
        return features, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        features, reward, terminated, truncated, info = self.env.step(action)
        lean = {str(name): info[name] for name in ("invalid_action", "success", "infra_error") if name in info}
        return features, float(reward), terminated, truncated, lean


def _wrapped(make_env: Callable[[], ToolEnv], config: PPOConfig) -> tuple[DiscreteTools, list[Callable[[], _Lean]]]:
    def wrap() -> DiscreteTools:
        return DiscreteTools(
            make_env(), slots=config.slots, mentions=config.mentions, answer_values=config.answer_values
        )

    first = wrap()
    return first, [lambda: _Lean(first), *[lambda: _Lean(wrap())] * (config.envs - 1)]


def _model(make_all: list[Callable[[], _Lean]], config: PPOConfig) -> MaskablePPO:
    from sb3_contrib import MaskablePPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    return MaskablePPO(
        "MlpPolicy",
        DummyVecEnv(make_all),  # type: ignore[arg-type]
        n_steps=config.horizon,
        batch_size=config.minibatch,
        n_epochs=config.epochs,
        learning_rate=partial(_falling, config.learning_rate),
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy,
        policy_kwargs={"net_arch": list(config.hidden)},
        seed=config.seed,
        device="cpu",
    )


def _falling(highest: float, left: float) -> float:
    return highest * (0.1 + 0.9 * left)


def _callback(record: Callable[[Progress], None]) -> Any:
    """Counts what the environments say, and tells it after each batch of experience."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Counting(BaseCallback):
        def _on_training_start(self) -> None:
            self._start = time.process_time()
            self._returns = [0.0] * self.training_env.num_envs

        def _on_rollout_start(self) -> None:
            self._ended: list[tuple[bool, float]] = []
            self._invalid = 0

        def _on_step(self) -> bool:
            for i, info in enumerate(self.locals["infos"]):
                self._invalid += bool(info["invalid_action"])
                self._returns[i] += float(self.locals["rewards"][i])
                if self.locals["dones"][i]:
                    if "infra_error" not in info:
                        self._ended.append((bool(info["success"]), self._returns[i]))
                    self._returns[i] = 0.0
            return True

        def _on_rollout_end(self) -> None:
            n = len(self._ended)
            record(
                Progress(
                    steps=self.num_timesteps,
                    episodes=n,
                    success=sum(success for success, _ in self._ended) / n if n else None,
                    mean_return=sum(value for _, value in self._ended) / n if n else None,
                    invalid_actions=self._invalid,
                    cpu_seconds=round(time.process_time() - self._start, 3),
                )
            )

    return Counting()


def _need_sb3() -> None:
    try:
        import sb3_contrib  # noqa: F401
    except ImportError as error:
        raise MissingExtra("the agent ppo needs sb3-contrib; run pip install 'tir-gym[rl]'") from error


__all__ = [
    "PPOConfig",
    "Progress",
    "TrainedPolicy",
    "make_network",
    "read_about",
    "train",
]
