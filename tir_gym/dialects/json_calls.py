"""Plain JSON: the whole message is one call, `{"name": ..., "arguments": {...}}`, or a list of calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tir_gym.answers import is_refusal
from tir_gym.dialects.dialect import Dialect, Malformed, ParsedMessage, read_call, read_json, without_thoughts
from tir_gym.records import ToolCall

_FENCE = "```"


class JsonDialect(Dialect):
    name = "json"

    def parse_text(self, text: str) -> ParsedMessage:
        words = without_thoughts(text).strip()
        body = _unfenced(words)
        if not body.startswith(("{", "[")):
            return ParsedMessage(words, (), is_refusal(words))
        try:
            data = read_json(body)
        except ValueError as error:
            return ParsedMessage("", (Malformed(f"the message begins like a call but is not valid JSON: {error}"),))
        entries = data if isinstance(data, list) else [data]
        if not any(isinstance(entry, dict) and "name" in entry for entry in entries):
            return ParsedMessage(words, (), is_refusal(words))  # JSON that is an answer, not a call
        return ParsedMessage("", tuple(read_call(entry) for entry in entries))

    def render(self, text: str, calls: Sequence[ToolCall]) -> str:
        """Words cannot stand beside calls in this dialect; with calls, `text` is left out."""
        if not calls:
            return text
        data: list[dict[str, Any]] = [{"name": call.name, "arguments": call.arguments} for call in calls]
        return json.dumps(data[0] if len(data) == 1 else data, ensure_ascii=False)

    def tool_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        listing = "\n".join(json.dumps(tool.get("function", tool), ensure_ascii=False) for tool in tools)
        return (
            f"You can call these functions, one JSON object per line:\n{listing}\n\n"
            'To call one, answer with nothing but {"name": "function name", "arguments": {"argument": "value"}}; '
            "to call several, answer with a JSON list of such objects. Any other answer is for the user."
        )


def _unfenced(text: str) -> str:
    """What stands inside a code fence that is the whole text; else the text."""
    if text.startswith(_FENCE) and text.endswith(_FENCE):
        language, newline, body = text.removeprefix(_FENCE).removesuffix(_FENCE).partition("\n")
        if newline and language.strip().casefold() in ("", "json"):
            return body.strip()
    return text
