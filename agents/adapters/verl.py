"""verl on our environments: an agent loop, the reward of each turn where that turn ends, our estimators by name.

    algorithm.adv_estimator=tir_gym_dual
    actor_rollout_ref.rollout.agent.default_agent_loop=tir_gym
    actor_rollout_ref.rollout.agent.agent_loop_config_path=agent.yaml
    VERL_USE_EXTERNAL_MODULES=tir_gym.agents.adapters.verl     # in every process, so that the names are known

with, in `agent.yaml`,

    - name: tir_gym
      _target_: tir_gym.agents.adapters.verl.ToolEnvLoop
      env: tir_gym/Lookup-v0
      env_options: {dialect: hermes, hops: [1, 3]}

verl writes one number per rollout into a batch, at its last token. `TurnOutput` writes one per turn, which is what its
trainer on TransferQueue (`verl.trainer.main_ppo`) reads. The older one (`main_ppo_v0`) builds the batch without asking
the output; it needs a worker that does, so there say also

    actor_rollout_ref.rollout.agent.agent_loop_manager_class=tir_gym.agents.adapters.verl.TurnLoopManager
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np

from tir_gym.agents.adapters.playing import Asked, playing
from tir_gym.agents.adapters.tokens import REWARD_ONLY, advantage_tensors
from tir_gym.agents.engines import HuggingFaceTokenizer
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.making import make_env
from tir_gym.rollout import TokenOutput, Trajectory

try:
    import ray
    import torch
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import (
        AgentLoopBase,
        AgentLoopManager,
        AgentLoopMetrics,
        AgentLoopOutput,
        AgentLoopWorker,
        register,
    )
    from verl.trainer.ppo.core_algos import register_adv_est
    from verl.utils.profiler import simple_timer
except ImportError as error:
    raise MissingExtra(
        f"this adapter needs verl, which does not name all that it imports ({error}): "
        "pip install 'verl>=0.9.1,<0.10' TransferQueue cachetools uvicorn fastapi"
    ) from error


class TurnOutput(AgentLoopOutput):  # type: ignore[misc]  # a class of a package that types are not read from
    """One rollout, with a reward for each turn."""

    turn_ends: list[int]
    """`[T]`: where in the response the last sampled token of each turn stands."""
    turn_rewards: list[float]
    """`[T]`."""

    def as_dict(self) -> dict[str, Any]:
        """As verl's, but `rm_scores` holds each turn's reward at its last sampled token."""
        output: dict[str, Any] = super().as_dict()
        ends, rewards = output.pop("turn_ends"), output.pop("turn_rewards")
        scores = torch.zeros_like(output["response_mask"], dtype=torch.float32)
        scores[ends] = torch.tensor(rewards, dtype=torch.float32)
        output["rm_scores"] = scores
        return output


@register("tir_gym")
class ToolEnvLoop(AgentLoopBase):  # type: ignore[misc]
    """Plays the task that a row names in `extra_info["task"]`; its `raw_prompt` is not read.

    A turn ends where the server ends it, the rollout after `response_length` tokens at the latest. A rollout that the
    infrastructure breaks has no token that is trained.

    Args:
        args: As verl gives them.
        env: Environment id; its option `dialect` must be the one in which the policy writes calls.
        env_options: For its constructor.
        max_turn_tokens: Tokens of one turn at most; by default as many as the response has left.
        hindsight: Pay each turn when the episode has ended; see `playing`.
        kwargs: As verl gives them.
    """

    def __init__(
        self,
        *args: Any,
        env: str = "tir_gym/Lookup-v0",
        env_options: Mapping[str, Any] | None = None,
        max_turn_tokens: int | None = None,
        hindsight: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        options = OmegaConf.to_container(env_options) if OmegaConf.is_config(env_options) else env_options
        self._make = partial(make_env, env, **{"dialect": "hermes", **(options or {})})
        self._max_turn_tokens = max_turn_tokens
        self._hindsight = hindsight

    async def run(self, sampling_params: dict[str, Any], **kwargs: Any) -> TurnOutput:
        """One rollout.

        Args:
            sampling_params: For the server.
            kwargs: The row of the data set.

        Raises:
            UsageError: The row names no task, or its prompt is longer than `prompt_length`.
        """
        task = _task(kwargs)
        env = self._make()
        try:
            return await self._play(
                playing(
                    env,
                    HuggingFaceTokenizer(self.tokenizer, template_options=self.apply_chat_template_kwargs),
                    task=task,
                    group_id=str(kwargs.get("uid", task)),
                    max_response=self.rollout_config.response_length,
                    hindsight=self._hindsight,
                ),
                sampling_params,
            )
        finally:
            env.close()

    async def _play(
        self, episode: Generator[Asked, TokenOutput, Trajectory], sampling_params: dict[str, Any]
    ) -> TurnOutput:
        request_id = uuid4().hex  # names the rollout, so that one server has all of its turns
        seconds: dict[str, float] = {}
        versions: list[int] = []
        told = True
        # Tools may take their time; the loop serves other rollouts meanwhile.
        asked, trajectory = await self.loop.run_in_executor(None, _advance, episode, None)
        while asked is not None:
            if not versions and len(asked.prompt_ids) > self.rollout_config.prompt_length:
                raise UsageError(
                    f"a prompt of {len(asked.prompt_ids)} tokens is longer than "
                    f"actor_rollout_ref.rollout.prompt_length={self.rollout_config.prompt_length}; raise it"
                )
            room = asked.room if self._max_turn_tokens is None else min(asked.room, self._max_turn_tokens)
            with simple_timer("generate_sequences", seconds):
                output = await self.server_manager.generate(
                    request_id=request_id,
                    prompt_ids=asked.prompt_ids.tolist(),
                    sampling_params={**sampling_params, "max_tokens": room},
                )
            told = told and output.log_probs is not None
            versions.append(output.extra_fields.get("global_steps") or 0)
            sampled = TokenOutput(
                ids=np.asarray(output.token_ids, dtype=np.int32),
                logprobs=np.asarray(output.log_probs or [0.0] * len(output.token_ids), dtype=np.float32),
                finish="abort" if output.stop_reason == "aborted" else "stop",
                weight_version=versions[-1],
            )
            with simple_timer("tool_calls", seconds):
                asked, trajectory = await self.loop.run_in_executor(None, _advance, episode, sampled)
        return _output(trajectory, self.tokenizer.eos_token_id, told, versions, AgentLoopMetrics(**seconds))


class TurnLoopWorker(AgentLoopWorker):  # type: ignore[misc]
    """verl's worker for `main_ppo_v0`, whose batches have each turn's reward where the turn ends."""

    def _postprocess(self, inputs: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        data = super()._postprocess(inputs, *args, **kwargs)
        sampled = data.batch["response_mask"].bool()
        ends = sampled.clone()
        ends[:, :-1] &= ~sampled[:, 1:]
        scores = torch.zeros_like(data.batch["response_mask"], dtype=torch.float32)
        for row, where, output in zip(scores, ends, inputs, strict=True):
            if where.any():  # none where the rollout broke
                row[where] = torch.tensor(output.extra_fields["turn_scores"], dtype=torch.float32)
        data.batch["rm_scores"] = scores
        return data


class TurnLoopManager(AgentLoopManager):  # type: ignore[misc]
    """verl's manager of such workers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.agent_loop_workers_class = ray.remote(TurnLoopWorker)
        super().__init__(*args, **kwargs)


def advantages(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: Any = None,
    config: Any = None,
    *,
    estimator: str,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """An estimator of `tir_gym.advantages` as verl calls one; registered as `tir_gym_NAME`.

    Where the estimator discounts, it does so by `algorithm.gamma`, which is 1 in verl unless it is set; the paper's
    gamma is 0.9.

    Args:
        token_level_rewards: `[N, L]`: each turn's reward anywhere from its first token to the next turn's.
        response_mask: `[N, L]`: 1 where the policy sampled the token.
        index: `[N]`: which rollouts are compared.
        config: `algorithm` of verl's configuration.
        estimator: One of `REWARD_ONLY`.

    Returns:
        Advantages `[N, L]` and returns `[N, L]`.

    Raises:
        UsageError: There is no `index`.
    """
    gamma = None if config is None else config.gamma
    return advantage_tensors(estimator, token_level_rewards, response_mask, index, gamma)


for _name in REWARD_ONLY:
    register_adv_est(f"tir_gym_{_name}")(partial(advantages, estimator=_name))


def _advance(
    episode: Generator[Asked, TokenOutput, Trajectory], output: TokenOutput | None
) -> tuple[Asked | None, Trajectory | None]:
    """One turn on; a generator's end cannot be raised out of an executor."""
    try:
        return (next(episode) if output is None else episode.send(output)), None
    except StopIteration as end:
        return None, end.value


def _task(row: Mapping[str, Any]) -> str:
    task = (row.get("extra_info") or {}).get("task")
    if not isinstance(task, str):
        raise UsageError(f"extra_info={row.get('extra_info')!r}: a row needs the id of its task, extra_info['task']")
    return task


def _output(
    trajectory: Trajectory, filler: int, told: bool, versions: list[int], metrics: AgentLoopMetrics
) -> TurnOutput:
    shared = {
        "num_turns": 2 * len(trajectory.turns),
        "metrics": metrics,
        "reward_score": sum(trajectory.turn_rewards) if trajectory.infra_error is None else 0.0,
        "extra_fields": {
            "turn_scores": trajectory.turn_rewards,
            "tool_rewards": [],
            "reward_extra_info": {"success": float(bool(trajectory.success)), "turns": len(trajectory.turns)},
            "min_global_steps": min(versions, default=None),
            "max_global_steps": max(versions, default=None),
        },
    }
    if not trajectory.turns:  # it broke before its first turn; verl wants a row all the same
        return TurnOutput(
            prompt_ids=[filler], response_ids=[filler], response_mask=[0], turn_ends=[], turn_rewards=[], **shared
        )
    flat = trajectory.flat()
    kept = trajectory.infra_error is None
    return TurnOutput(
        prompt_ids=flat.prompt_ids.tolist(),
        response_ids=flat.response_ids.tolist(),
        response_mask=flat.loss_mask.tolist() if kept else [0] * len(flat.loss_mask),
        turn_ends=(flat.turn_spans[:, 1] - 1).tolist() if kept else [],
        turn_rewards=trajectory.turn_rewards if kept else [],
        **({"response_logprobs": flat.logprobs.tolist()} if told else {}),
        **shared,
    )
