"""Where a run's rollouts come from: an engine with the policy's weights, and schedulers that play with it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from inspect import signature
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from tir_gym.agents.engines import HuggingFaceTokenizer, LocalEngine, check_parity
from tir_gym.agents.grpo.config import GrpoConfig
from tir_gym.agents.grpo.learner import Learner
from tir_gym.errors import UsageError
from tir_gym.making import make_env
from tir_gym.rollout import Balanced, Branching, Finished, Request, SamplingParams, Scheduler

_TOLERANCE = {"fp32": 1e-5, "bf16": 1e-2}
"""How far an engine may be off, see `ParityReport`. In bfloat16 rounding alone made a mean of 0.03 nats on the probe's
random tokens, which are some 10 nats unlikely; so the probe then finds weights that are missing, and no finer fault."""


class Sampler:
    """Engines and schedulers of a run, while it is open.

    Args:
        config: The run.
        learner: Whose weights are sampled with.
        version: Of these weights. A run that is resumed does not draw again what it drew at its start.

    Raises:
        UsageError: The engine cannot do what the config asks for.
    """

    def __init__(self, config: GrpoConfig, learner: Learner, version: int = 0) -> None:
        self.tokenizer = HuggingFaceTokenizer.load(config.policy)
        self._config = config
        self._learner = learner
        self._stack = AsyncExitStack()
        self._shared = shares_weights(config, learner.world)
        self._engines = _engines(config, learner, self._shared, version)
        self._policy = self._engines[0] if len(self._engines) == 1 else Balanced(self._engines)
        if config.deterministic and not all(engine.deterministic for engine in self._engines):
            raise UsageError(
                f"rollout.engine={config.rollout.engine!r} is not deterministic; give deterministic=false, or take "
                'rollout.engine="local"'
            )

    async def __aenter__(self) -> Sampler:
        for engine in self._engines:
            self._stack.push_async_callback(engine.close)
        self._train = await self._stack.enter_async_context(self._scheduler("train", self._config.rollout.temperature))
        self._sampled = await self._stack.enter_async_context(self._scheduler("test", self._config.rollout.temperature))
        self._greedy = await self._stack.enter_async_context(self._scheduler("test", 0.0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def sample(self, requests: Sequence[Request]) -> list[Finished]:
        """Rollouts of training tasks, in the order of their requests."""
        return await _in_order(self._train, requests)

    async def held_out(self, requests: Sequence[Request], *, greedy: bool) -> list[Finished]:
        """Rollouts of held-out tasks, likewise."""
        return await _in_order(self._greedy if greedy else self._sampled, requests)

    async def update(self, version: int) -> None:
        """Sample with the learner's weights from now on, and prove it. All processes must call it.

        Raises:
            ParityError: An engine samples from something else.
        """
        learner = self._learner
        weights: Any = None
        folder = (Path(self._config.out) / "weights" / f"{version:06d}").resolve()  # a server has a folder of its own
        if self._config.rollout.engine == "server":
            whole = learner.weights()
            if learner.rank == 0:
                learner.publish(folder, whole)
                weights = folder
        elif not self._shared:
            weights = learner.weights()
        for engine in self._engines:
            await engine.update(weights, version)
        learner.most(0)  # nobody samples from a server before it has them
        for engine in self._engines:
            await check_parity(engine, learner.model, tolerance=_TOLERANCE[self._config.model.precision])
        if learner.rank == 0:
            shutil.rmtree(folder.parent, ignore_errors=True)

    def publish(self) -> Path:
        """Write the trained policy, with its tokenizer, where the run ends. All processes must call it."""
        folder, learner = Path(self._config.out) / "policy", self._learner
        weights = learner.weights()
        if learner.rank == 0:
            partial_folder = folder.with_name("policy.partial")
            shutil.rmtree(partial_folder, ignore_errors=True)
            learner.publish(partial_folder, weights)
            self.tokenizer.tokenizer.save_pretrained(partial_folder)
            shutil.rmtree(folder, ignore_errors=True)
            partial_folder.rename(folder)
        return folder

    def _scheduler(self, split: str, temperature: float) -> Scheduler:
        env, rollout = self._config.env, self._config.rollout
        return Scheduler(
            partial(make_env, env.id, **env.make_options(split)),
            self._policy,
            self.tokenizer,
            params=SamplingParams(
                max_tokens=rollout.max_tokens,
                temperature=temperature,
                top_p=rollout.top_p if temperature else 1.0,
            ),
            concurrency=rollout.concurrency,
            max_tokens=rollout.context,
            branching=Branching(**rollout.fork.model_dump()) if rollout.fork.width and split == "train" else None,
            agent=f"grpo:{self._config.policy}",
        )


async def _in_order(scheduler: Scheduler, requests: Sequence[Request]) -> list[Finished]:
    place = {id(request): i for i, request in enumerate(requests)}
    found = [finished async for finished in scheduler.run(requests)]
    return sorted(found, key=lambda one: (place[id(one.request)], str(one.trajectory.rollout)))


def shares_weights(config: GrpoConfig, world: int) -> bool:
    """Whether the engine samples with the learner's own tensors, so that no weights are copied: they must be whole,
    float32, and at rest while anything is sampled."""
    model = config.model
    apart = model.precision != "fp32" or model.lora.r or model.checkpoint_activations or config.ahead
    return config.rollout.engine == "local" and world == 1 and not apart


def _engines(config: GrpoConfig, learner: Learner, shared: bool, version: int) -> list[Any]:
    rollout = config.rollout
    # Of turns that bring no seed, as all do where the run is not deterministic.
    seed = int(np.random.SeedSequence([config.seed, learner.rank, version]).generate_state(1)[0])
    if rollout.engine == "local":
        options: dict[str, Any] = {
            "max_slots": rollout.concurrency,
            "context": rollout.context,
            "deterministic": config.deterministic,
            "seed": seed,
            **rollout.options,
        }
        _refuse_unknown(LocalEngine, rollout.options)
        if shared:
            return [LocalEngine(learner.model, **options)]
        return [LocalEngine.load(config.policy, device=str(learner.device), dtype=_dtype(config), **options)]
    if rollout.engine == "vllm":
        from tir_gym.agents.engines import VllmEngine

        # vLLM would choose by itself: half precision also for float32 weights, and room for the model's whole context.
        most = getattr(learner.model.config.get_text_config(), "max_position_embeddings", rollout.context)
        room = min(rollout.context, most)
        fitting = {"dtype": _dtype(config), "max_model_len": room, "max_num_seqs": rollout.concurrency}
        return [VllmEngine(config.policy, **{"seed": seed, **fitting, **rollout.options})]
    from tir_gym.agents.engines import ServerEngine

    _refuse_unknown(ServerEngine, rollout.options)
    return [ServerEngine(rollout.model or config.policy, url, **rollout.options) for url in rollout.urls]


def _dtype(config: GrpoConfig) -> str:
    """The precision in which an engine computes what the learner does."""
    return "bfloat16" if config.model.precision == "bf16" else "float32"


def _refuse_unknown(engine: type, options: dict[str, Any]) -> None:
    known = [name for name, one in signature(engine).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UsageError(f"rollout.options.{name}: the engine takes no such option; it takes {', '.join(known)}")
