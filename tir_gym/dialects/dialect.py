"""What every dialect gives: a message read into words and calls, and written back."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.answers import is_refusal
from tir_gym.frozen import DEEPEST, is_deep
from tir_gym.long_json import TooManyValues, read_long
from tir_gym.records import ToolCall
from tir_gym.short_json import read_short

_LONG = 1 << 16
"""Characters of JSON that are read in one go at most, during which no other thread runs."""
_FIELDS = frozenset({"content", "tool_calls", "refusal"})
_THOUGHT = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that looks like a call and cannot be read."""

    reason: str
    id: str | None = None


@dataclass(slots=True)
class ParsedMessage:
    """An assistant message, read."""

    text: str
    """Its words, calls and thoughts removed."""
    items: tuple[ToolCall | Malformed, ...] = ()
    """Calls and failed attempts, in the order of the message."""
    refusal: bool = False
    """Whether the message is marked as a refusal."""


class Dialect(ABC):
    name: str

    def parse(self, action: Any) -> ParsedMessage:
        """Read an action: text, or a message dict in OpenAI's form. Never raises."""
        if isinstance(action, str):
            return self.parse_text(action)
        if isinstance(action, dict) and not _FIELDS.isdisjoint(action):
            return self._parse_message(action)
        return ParsedMessage("", (Malformed("an action is text, or a message with `content` or `tool_calls`"),))

    @abstractmethod
    def parse_text(self, text: str) -> ParsedMessage:
        """Read a message that is text."""

    @abstractmethod
    def render(self, text: str, calls: Sequence[ToolCall]) -> str | dict[str, Any]:
        """The action that says `text` and makes the calls; `parse` gives both back."""

    @abstractmethod
    def tool_prompt(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """What a model must be told about the tools; empty where they travel beside the messages.

        Args:
            tools: In OpenAI's form, as `info["tools"]` gives them.
        """

    def _parse_message(self, message: Mapping[str, Any]) -> ParsedMessage:
        content = _text_of(message.get("content"))
        words = without_thoughts(content)
        refusal = message.get("refusal")
        entries = message.get("tool_calls") or ()
        if not isinstance(entries, (list, tuple)):
            return ParsedMessage(words, (Malformed("`tool_calls` must be a list"),))
        if not entries and not refusal:
            if message.get("function_call"):  # OpenAI's old form; passed over, it would end the episode
                return ParsedMessage(
                    words, (Malformed("calls go into `tool_calls`, a list, not into `function_call`"),)
                )
            return self.parse_text(content)
        items = tuple([_read_entry(entry) for entry in entries])
        if isinstance(refusal, str) and refusal:
            return ParsedMessage(words or refusal, items, refusal=True)
        return ParsedMessage(words, items, is_refusal(words))


def read_call(data: Any, id: str | None = None) -> ToolCall | Malformed:
    """A call from `{"name": ..., "arguments": {...}}`; arguments may be JSON in a string, as OpenAI has them."""
    if not isinstance(data, dict):
        return Malformed(f"a call is an object with `name` and `arguments`, got a {_json_type(data)}", id)
    name, arguments = data.get("name"), data.get("arguments", {})
    if not isinstance(name, str) or not name:
        return Malformed("a call needs a `name`, a non-empty string", id)
    if "parameters" in data and "arguments" not in data:  # Llama's form; read as no arguments, it would mislead
        return Malformed(f"the arguments of {name} go into `arguments`, not into `parameters`", id)
    if isinstance(arguments, str):
        try:
            arguments = read_json(arguments) if arguments else {}
        except ValueError as error:
            return Malformed(f"the arguments of {name} are not valid JSON: {error}", id)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return Malformed(f"the arguments of {name} must be an object, got a {_json_type(arguments)}", id)
    return ToolCall(name, arguments, id)


def read_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: With the place of the fault; also for nesting, numbers or texts too large to read.
    """
    try:
        data = read_short(text) if len(text) <= _LONG else read_long(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except TooManyValues:
        raise
    except ValueError:
        raise ValueError("a number has too many digits") from None
    if text.count("[") + text.count("{") > DEEPEST and is_deep(data):
        raise ValueError("nested too deeply")
    return data


def without_thoughts(text: str) -> str:
    """The text without `<think>` blocks. An unclosed one reaches to the end; one that is only closed begins the text,
    because some chat templates open it for the model."""
    if "<think>" in text:
        text = _THOUGHT.sub("", text)
    return text.rpartition("</think>")[2] if "</think>" in text else text


def thoughts_of(action: Any) -> tuple[str, ...]:
    """What an action says that its agent thought: fields of their own as endpoints have them, then what
    `without_thoughts` leaves out of its text."""
    fields = action if isinstance(action, Mapping) else {}
    told = [fields.get(name) for name in ("reasoning_content", "reasoning", "thinking")]
    text = action if isinstance(action, str) else _text_of(fields.get("content"))
    opened = _THOUGHT.sub("", text).rpartition("</think>")[0]
    every = [*(each for each in told if isinstance(each, str)), opened, *_THOUGHT.findall(text)]
    return tuple(each.strip() for each in every if each.strip())


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        return "".join(
            str(part.get("text", "")) for part in content if isinstance(part, dict) and part.get("type") == "text"
        )
    return ""


def _read_entry(entry: Any) -> ToolCall | Malformed:
    if not isinstance(entry, dict):
        return Malformed(f"an entry of `tool_calls` is an object, got a {_json_type(entry)}")
    id = entry.get("id")
    return read_call(entry.get("function", entry), id if isinstance(id, str) else None)


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "number", float: "number", list: "list", dict: "object", type(None): "null"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), type(value).__name__)
