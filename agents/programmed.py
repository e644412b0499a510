"""Agents that are programs: each turn they decide on words and calls, and say them in the environment's dialect."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

from tir_gym.dialects import get_dialect
from tir_gym.env import Action
from tir_gym.messages import Observation
from tir_gym.oracle import Oracle
from tir_gym.records import ToolCall

Move: TypeAlias = tuple[str, tuple[ToolCall, ...]]
"""Words and calls of one message."""


class ProgrammedAgent(ABC):
    """Base of agents that need no model. Subclasses say what to do in `decide`.

    Attributes:
        tools: The `function` part of each tool that the environment offers, by name.
        rng: The agent's own randomness, seeded by the episode's seed and task.
        turn: Number of messages sent so far.
        oracle: The gold trace; only where `needs_gold`.
    """

    needs_gold: ClassVar[bool] = False

    tools: dict[str, Mapping[str, Any]]
    rng: random.Random
    turn: int
    oracle: Oracle

    def begin(self, env_info: dict[str, Any]) -> None:
        self.tools = {entry["function"]["name"]: entry["function"] for entry in env_info["tools"]}
        self.rng = random.Random(f"{type(self).__name__}/{env_info['seed']}/{env_info['task_id']}")
        self.turn = 0
        self._dialect = get_dialect(env_info["dialect"])
        if self.needs_gold:
            self.oracle = env_info["oracle"]
        self.prepare()

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        text, calls = self.decide(observation)
        # Ids that no other call of the episode has, so that its transcript is a valid chat.
        action = self._dialect.render(text, numbered(calls, self.turn))
        self.turn += 1
        return action

    def prepare(self) -> None:  # noqa: B027  an agent without a plan has nothing to prepare
        """Make a plan; called at the end of `begin`."""

    @abstractmethod
    def decide(self, observation: Observation) -> Move:
        """The next message: words, calls, or both."""


def numbered(calls: Iterable[ToolCall], turn: int) -> tuple[ToolCall, ...]:
    """The calls with ids `call_TURN_POSITION`."""
    return tuple(ToolCall(call.name, call.arguments, id=f"call_{turn}_{i}") for i, call in enumerate(calls))
