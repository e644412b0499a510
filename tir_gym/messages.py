"""Chat messages in OpenAI's form: what an assistant said, and what the environment answers to its calls."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tir_gym.dialects import Malformed, get_dialect
from tir_gym.errors import InfrastructureError
from tir_gym.records import Message, ToolCall, ToolResult
from tir_gym.short_json import writer


class Observation(tuple[Message, ...]):
    """The new messages, a tuple in every way; but copying it deeply costs little, and vector environments always do."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Observation:
        return Observation([_copied(message, memo) for message in self])


def _copied(message: Message, memo: dict[int, Any]) -> Message:
    for value in message.values():
        if type(value) is not str:
            return copy.deepcopy(message, memo)
    return dict(message)


_to_json = writer(ensure_ascii=False)


def assistant_message(text: str, calls: Sequence[ToolCall]) -> Message:
    """An assistant message, its arguments as JSON text."""
    return get_dialect("openai").render(text, calls)  # type: ignore[return-value]


def tool_messages(
    items: Sequence[ToolCall | Malformed], results: Sequence[ToolResult], turn: int
) -> tuple[Message, ...]:
    """One `tool` message for each call and for each failed attempt at one, in the order of the agent's message.

    Args:
        items: Calls and attempts.
        results: One per call.
        turn: Index of the turn; with the position it makes the id of a call that came without one.

    Raises:
        InfrastructureError: A tool gave back something that is no JSON data.
    """
    messages: list[Message] = []
    answers = iter(results)
    for position, item in enumerate(items):
        id = item.id or f"call_{turn}_{position}"
        if isinstance(item, Malformed):
            messages.append({"role": "tool", "tool_call_id": id, "content": _to_json({"error": item.reason})})
        else:
            content = _content(item, next(answers))
            messages.append({"role": "tool", "tool_call_id": id, "name": item.name, "content": content})
    return tuple(messages)


def one_line(message: Message) -> str:
    """The message for a terminal."""
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in message.get("tool_calls", ())]
    content = message.get("content") or ""
    words = content if isinstance(content, str) else _to_json(content)
    return f"[{message['role']}] {' '.join(filter(None, [words, *calls]))}"


def _content(call: ToolCall, result: ToolResult) -> str:
    if result.error is None and isinstance(result.content, str):
        return result.content
    try:
        if result.error is None:
            return _to_json(result.content)
        if result.content is None:
            return _to_json({"error": result.error})
        return _to_json({"content": result.content, "error": result.error})
    except (TypeError, ValueError, RecursionError) as error:
        raise InfrastructureError(f"tool {call.name} returned no JSON data: {error}", tool=call.name) from error
