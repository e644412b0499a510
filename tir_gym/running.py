"""An episode while it runs: what `ToolEnv` changes at each step, and what can be made of it (messages, a trace)."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field, replace
from typing import Any

from tir_gym.messages import Observation, assistant_message
from tir_gym.prepared import PreparedTask
from tir_gym.records import Message, Provenance, ToolCall, ToolResult, Trace, Turn
from tir_gym.rewards import Credit, CreditSnapshot
from tir_gym.sandbox import Sandbox
from tir_gym.user import Conversation


@dataclass(slots=True)
class PlayedTurn:
    """A turn that was played; a plain object because one is made every step."""

    action: Any
    text: str
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    malformed: tuple[str, ...] = ()
    observation: tuple[Message, ...] = ()
    reward: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def record(self) -> Turn:
        return Turn(
            action=self.action,
            text=self.text,
            calls=self.calls,
            results=self.results,
            malformed=self.malformed,
            observation=self.observation,
            reward=self.reward,
            parts=self.parts,
        )


@dataclass(slots=True)
class RunningEpisode:
    """What changes while an episode is played."""

    prepared: PreparedTask
    sandbox: Sandbox
    credit: Credit
    seed: int | None
    max_turns: int
    deadline: float | None
    clock: float = field(default_factory=time.monotonic)
    conversation: Conversation = field(default_factory=Conversation)
    turns: list[PlayedTurn] = field(default_factory=list)
    ending: str | None = None
    success: bool | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    turn_rewards: tuple[float, ...] = ()
    infra_error: dict[str, Any] | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def terminated(self) -> bool:
        """Whether the agent ended it, with an answer or a refusal."""
        return self.ending in ("answer", "refusal")

    def lap(self) -> float:
        """Seconds since the last lap, or since reset."""
        before, self.clock = self.clock, time.monotonic()
        return self.clock - before

    def pass_over(self, seconds: float) -> None:
        """Leave out a time in which the episode did not run."""
        self.clock += seconds
        if self.deadline is not None:
            self.deadline += seconds

    def copy(self) -> RunningEpisode:
        """Independent but for its sandbox and credit, which the caller replaces; turns played are shared."""
        return replace(self, turns=list(self.turns))

    def messages(self) -> list[Message]:
        """All messages so far, in OpenAI's form."""
        messages = list(copy.deepcopy(Observation(self.prepared.task.messages)))
        for turn in self.turns:
            # The environment names the tool in its answer to a call, and gives an id where the agent gave none.
            ids = [message["tool_call_id"] for message in turn.observation if "name" in message]
            calls = [ToolCall(call.name, call.arguments, id) for call, id in zip(turn.calls, ids, strict=True)]
            messages.append(assistant_message(turn.text, calls))
            messages.extend(dict(message) for message in turn.observation)
        return messages

    def trace(self, provenance: Provenance) -> Trace:
        """The episode so far as a record."""
        return Trace(
            provenance=provenance,
            messages=self.prepared.task.messages,
            tools=self.prepared.task.tools,
            turns=tuple(turn.record() for turn in self.turns),
            matches=self.credit.matches(),
            gold_calls=self.credit.gold_calls,
            terminated=self.terminated,
            truncated=self.ending is not None and not self.terminated,
            ending=self.ending,
            success=self.success,
            checks=self.checks,
            turn_rewards=self.turn_rewards,
            infra_error=self.infra_error,
            metrics=self.metrics,
        )


@dataclass(frozen=True)
class Snapshot:
    """A picture of an episode; opaque, for `ToolEnv.restore`."""

    episode: RunningEpisode = field(repr=False)
    sandbox: Any = field(repr=False)
    credit: CreditSnapshot = field(repr=False)
    env_type: type
    taken: float
    """When, by the clock that budgets of seconds run on."""
