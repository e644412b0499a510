"""One call of a tool as one turn of an episode, for protocols that know calls and no messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError
from tir_gym.messages import Observation, assistant_message
from tir_gym.records import ToolCall, ToolResult
from tir_gym.server.wire import step_result


@dataclass(frozen=True)
class PlayedCall:
    """A call, or words, and what came of it."""

    result: ToolResult
    """What the tool gave back; for words, what the user replied, or that the episode is over."""
    reward: float
    terminated: bool
    truncated: bool
    info: Mapping[str, Any]
    """Without gold and matching unless exposed."""

    def feedback(self) -> dict[str, Any]:
        """All but the result, as JSON data."""
        return {
            "reward": self.reward,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "info": self.info,
        }


def play_call(env: ToolEnv, name: str, arguments: Mapping[str, Any], exposed: bool) -> PlayedCall:
    """Play a message of one call.

    Raises:
        InfrastructureError: The tool or its sandbox broke; the episode has ended.
        UsageError: No episode is running.
    """
    observation, reward, terminated, truncated, info = _played(
        env, assistant_message("", [ToolCall(name, arguments)]), exposed
    )
    # What has no name is no call, and so has no result.
    results = env.results or (ToolResult(error=str(observation[0]["content"]), error_kind="malformed"),)
    return PlayedCall(results[0], reward, terminated, truncated, info)


def play_words(env: ToolEnv, text: str, exposed: bool) -> PlayedCall:
    """Play a message of words alone. Raises as `play_call` does."""
    observation, reward, terminated, truncated, info = _played(env, assistant_message(text, ()), exposed)
    said = "\n".join(str(message["content"]) for message in observation)
    return PlayedCall(ToolResult(said or "The episode is over."), reward, terminated, truncated, info)


def _played(env: ToolEnv, action: Any, exposed: bool) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
    result = step_result(env.step(action), exposed)
    failure = result["info"].get("infra_error")
    if failure is not None:
        raise InfrastructureError(failure["message"], tool=failure["tool"], kind=failure["kind"])
    return result["observation"], result["reward"], result["terminated"], result["truncated"], result["info"]
