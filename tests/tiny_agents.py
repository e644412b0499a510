"""Agents of a few lines, for tests of what records and scores them."""

from __future__ import annotations

import json
import random
import time
from typing import Any

from tir_gym.agent import AgentFailure
from tir_gym.messages import assistant_message


class Gold:
    """Plays the gold trace, and counts a token per turn."""

    needs_gold = True

    def begin(self, env_info: dict[str, Any]) -> None:
        self.moves = iter(env_info["oracle"].script())
        self.usage = {"prompt_tokens": 0, "completion_tokens": 0}

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        self.usage["prompt_tokens"] += 10
        self.usage["completion_tokens"] += 1
        return assistant_message(*next(self.moves))


class Coin(Gold):
    """Plays the gold trace or answers nonsense, as its seed has it; a little slow, if told so."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay

    def begin(self, env_info: dict[str, Any]) -> None:
        super().begin(env_info)
        self.random = random.Random(env_info["seed"])
        self.lucky = self.random.random() < 0.5

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        time.sleep(self.delay * self.random.random())
        move = super().act(observation, info)
        return move if self.lucky or move.get("tool_calls") else f"I say {self.random.random()}."


class Wild:
    """Sends what databases and JSON have trouble with, then answers."""

    def begin(self, env_info: dict[str, Any]) -> None:
        self.turn = 0

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        self.turn += 1
        if self.turn == 1:
            arguments = {"a": float("nan"), "b": float("-inf"), "nul\x00": "\ud800", "😀": [True, None, 1e308, 10**30]}
            calls = [
                {"id": "c\x001", "type": "function", "function": {"name": "no\x00such", "arguments": arguments}},
                {"id": "c2", "type": "function", "function": {"name": "add", "arguments": '{"a": '}},
                {"function": {"name": "add", "arguments": json.dumps({"a": 1, "b": 2})}},
            ]
            return {"role": "assistant", "content": "half a pair \udc00, a NUL \x00, ünïcödé 😀", "tool_calls": calls}
        if self.turn == 2:
            return {"tool_calls": [7]}
        return "\x00\ud800"


class Down:
    """An agent whose endpoint fails after one turn, until told that it is up again."""

    needs_gold = True
    up = False

    def begin(self, env_info: dict[str, Any]) -> None:
        self.moves = iter(env_info["oracle"].script())
        self.turns = 0

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        self.turns += 1
        if self.turns > 1 and not self.up:
            raise AgentFailure("connection refused")
        return assistant_message(*next(self.moves))
