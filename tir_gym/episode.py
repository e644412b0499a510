"""One episode: an agent plays a task to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tir_gym.agent import Agent, AgentFailure
from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.records import Trace

_GOLD_KEYS = ("oracle", "match")


@dataclass(frozen=True)
class PlayedEpisode:
    """A trace, and what is kept beside it because it differs from run to run."""

    trace: Trace
    seconds: float
    """Wall-clock seconds from reset to the end."""
    turn_seconds: tuple[float, ...]
    """Wall-clock seconds of each turn, the agent's and the environment's."""
    usage: dict[str, float] = field(default_factory=dict)
    """What the agent counted: tokens, requests, retries."""


def play_episode(
    env: ToolEnv,
    agent: Agent,
    *,
    task: str,
    agent_seed: int = 0,
    name: str | None = None,
    on_turn: Callable[[dict[str, Any]], None] | None = None,
) -> PlayedEpisode:
    """Play a task to its end.

    Args:
        env: An environment without wrappers.
        agent: Who plays; sees gold and matching only if it has `needs_gold`.
        task: Task id.
        agent_seed: Seed of the agent's own randomness.
        name: The agent's name for the trace.
        on_turn: Called after each turn with what the environment said of it, for whoever watches.

    Returns:
        The episode. An `AgentFailure` ends it as an infrastructure failure of kind `agent_failure`; any other
        exception of the agent is a bug of its own and is raised.
    """
    sees_gold = bool(getattr(agent, "needs_gold", False))
    start = time.perf_counter()
    observation, info = env.reset(options={"task": task})
    if sees_gold and env.gold_withheld:
        who = f"agent {name}" if name else type(agent).__name__
        raise UsageError(
            f"{who} needs the gold trace, which this environment keeps to itself; a server sends it if started with "
            "--expose-gold"
        )
    begin = {
        "env_id": env.spec.id if env.spec is not None else env.env_id,
        "task_id": info["task_id"],
        "tools": info["tools"],
        "dialect": env.dialect.name,
        "seed": agent_seed,
    }
    if sees_gold:
        begin["oracle"] = info["oracle"]
    turn_seconds: list[float] = []
    over = False
    try:
        agent.begin(begin)
        while not over:
            turn_start = time.perf_counter()
            action = agent.act(observation, info if sees_gold else _without_gold(info))
            observation, _, terminated, truncated, info = env.step(action)
            turn_seconds.append(time.perf_counter() - turn_start)
            over = terminated or truncated
            if on_turn is not None:
                on_turn(info)
    except AgentFailure as error:
        env.abort("agent_failure", str(error))
    return PlayedEpisode(
        trace=env.trace(agent=name),
        seconds=time.perf_counter() - start,
        turn_seconds=tuple(turn_seconds),
        usage=dict(getattr(agent, "usage", {})),
    )


def _without_gold(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in _GOLD_KEYS}
