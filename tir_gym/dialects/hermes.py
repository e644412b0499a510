"""The Hermes form that Qwen models use: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>` in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tir_gym.answers import is_refusal
from tir_gym.dialects.dialect import Dialect, Malformed, ParsedMessage, read_call, read_json, without_thoughts
from tir_gym.records import ToolCall

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_BLOCK = re.compile(rf"{_OPEN}(.*?)(?:{_CLOSE}|(?={_OPEN})|\Z)", re.DOTALL)


class HermesDialect(Dialect):
    name = "hermes"

    def parse_text(self, text: str) -> ParsedMessage:
        text = without_thoughts(text)
        if _OPEN not in text:
            return ParsedMessage(text.strip(), (), is_refusal(text))
        items = tuple(_read_block(block) for block in _BLOCK.finditer(text))
        words = _BLOCK.sub("", text).replace(_CLOSE, "").strip()
        return ParsedMessage(words, items, is_refusal(words))

    def render(self, text: str, calls: Sequence[ToolCall]) -> str:
        blocks = [
            f"{_OPEN}\n{json.dumps({'name': call.name, 'arguments': call.arguments}, ensure_ascii=False)}\n{_CLOSE}"
            for call in calls
        ]
        return "\n".join([text, *blocks] if text else blocks)

    def tool_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        listing = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
        return (
            f"# Tools\n\nThe functions you can call, one JSON object per line:\n<tools>\n{listing}\n</tools>\n\n"
            f"To call functions, write one block for each call:\n"
            f'{_OPEN}\n{{"name": "function name", "arguments": {{"argument": "value"}}}}\n{_CLOSE}'
        )


def _read_block(block: re.Match[str]) -> ToolCall | Malformed:
    if not block[0].endswith(_CLOSE):
        return Malformed(f"a {_OPEN} is not closed by {_CLOSE}")
    try:
        return read_call(read_json(block[1].strip()))
    except ValueError as error:
        return Malformed(f"the content of {_OPEN} is not valid JSON: {error}")
