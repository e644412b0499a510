"""OpenAI's chat form: calls travel in `tool_calls`, beside the text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tir_gym.answers import is_refusal
from tir_gym.dialects.dialect import Dialect, ParsedMessage, without_thoughts
from tir_gym.records import ToolCall


class OpenAIDialect(Dialect):
    name = "openai"

    def parse_text(self, text: str) -> ParsedMessage:
        words = without_thoughts(text)
        return ParsedMessage(words, (), is_refusal(words))

    def render(self, text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id or f"call_{i}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
                }
                for i, call in enumerate(calls)
            ]
        return message

    def tool_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        return ""
