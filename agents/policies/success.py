"""What a policy is worth on held-out tasks, in three figures: for whoever taught it and wants to know at once.

`tir-gym eval ID --agent policy:FOLDER` tells more, with intervals, and keeps the episodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError
from tir_gym.evaluation import agent_seed
from tir_gym.rollout import ChatTokenizer, SamplingParams
from tir_gym.rollout.playing import Finished, Request
from tir_gym.rollout.scheduler import Scheduler

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Success:
    """Figures over tasks, each played once."""

    tasks: int
    success: float
    """Share of the tasks that were done."""
    mean_return: float
    calls_per_gold_call: float
    """1 for who makes as many calls as needed."""


def measure_success(
    model: PreTrainedModel,
    tokenizer: ChatTokenizer,
    make_env: Callable[[], ToolEnv],
    tasks: Sequence[str],
    *,
    temperature: float = 0.0,
    max_tokens: int = 256,
    seed: int = 0,
) -> Success:
    """Play each task once.

    Args:
        model: The policy, on its device.
        tokenizer: Its own.
        make_env: Without wrappers, of a dialect whose calls are text.
        tasks: Ids; at least one.
        temperature: 0 takes the likeliest token.
        max_tokens: Of one turn.
        seed: Of sampling.

    Raises:
        InfrastructureError: A tool broke: figures without its episode would say too much.
    """
    found = asyncio.run(_play(model, tokenizer, make_env, tasks, temperature, max_tokens, seed))
    traces = []
    for finished in found:
        if finished.trace is None or finished.trajectory.infra_error is not None:
            raise InfrastructureError(f"task {finished.request.task}: {finished.trajectory.infra_error}")
        traces.append((finished.trace, sum(finished.trajectory.turn_rewards)))
    calls = sum(len(turn.calls) for trace, _ in traces for turn in trace.turns)
    return Success(
        tasks=len(traces),
        success=sum(bool(trace.success) for trace, _ in traces) / len(traces),
        mean_return=sum(paid for _, paid in traces) / len(traces),
        calls_per_gold_call=calls / max(1, sum(trace.gold_calls for trace, _ in traces)),
    )


async def _play(
    model: PreTrainedModel,
    tokenizer: ChatTokenizer,
    make_env: Callable[[], ToolEnv],
    tasks: Sequence[str],
    temperature: float,
    max_tokens: int,
    seed: int,
) -> list[Finished]:
    from tir_gym.agents.engines import LocalEngine

    params = SamplingParams(max_tokens=max_tokens, temperature=temperature)
    # Each task its own numbers: with the same ones for all, luck would strike them all alike.
    requests = [Request(task=task, group_id=task, sampling_seed=agent_seed(seed, task, 0)) for task in tasks]
    async with (
        LocalEngine(model) as engine,
        Scheduler(make_env, engine, tokenizer, params=params, max_tokens=engine.context) as scheduler,
    ):
        return [finished async for finished in scheduler.run(requests)]
