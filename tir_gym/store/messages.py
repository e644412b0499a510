"""Episodes as OpenAI messages, the form that supervised fine-tuning reads: `{"messages": [...], "tools": [...], ...}`.

TRL takes the lines as they are ("conversational" language modelling with tools, its docs/source/dataset_formats.md);
what else stands in them are rewards by turn and the episode's figures, see `learning.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from tir_gym.records import Message, Trace, Turn
from tir_gym.store.learning import beside, write_lines
from tir_gym.store.run import EpisodeRow, Run


def export_openai(run: Run, file: str | Path | TextIO, *, only_success: bool = False) -> int:
    """Write one conversation per line, by task id and repeat; infrastructure failures are left out.

    Args:
        run: The run.
        file: A path, or an open text file.
        only_success: Leave out episodes that did not succeed.

    Returns:
        How many.
    """
    return write_lines(run, file, _line, only_success=only_success)


def conversation(trace: Trace) -> list[Message]:
    """All messages of an episode, in OpenAI's form: every call has an id, and the tool message after it that id.

    What could not be read as a call is left out together with the complaint about it, and a turn that was nothing
    else is left out whole: there is no right form of it to show, and nothing to learn from it.
    """
    messages = [dict(message) for message in trace.messages]
    for turn in shown_turns(trace):
        messages += turn_messages(trace.turns[turn])
    return messages


def shown_turns(trace: Trace) -> list[int]:
    """The turns that a conversation shows, each by one message of the agent."""
    return [number for number, turn in enumerate(trace.turns) if turn.calls or not turn.malformed]


def turn_messages(turn: Turn) -> list[Message]:
    """The agent's message of a turn that is shown, and the answers to it."""
    # The environment names the tool in its answer to a call, and only there.
    answers = [dict(message) for message in turn.observation if message["role"] != "tool" or "name" in message]
    ids = [message["tool_call_id"] for message in answers if message["role"] == "tool"]
    said: Message = {"role": "assistant", "content": turn.text}
    if turn.calls:
        said["content"] = turn.text or None
        said["tool_calls"] = [
            {
                "id": id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
            }
            for id, call in zip(ids, turn.calls, strict=True)
        ]
    return [said, *answers]


def _line(row: EpisodeRow, trace: Trace) -> dict[str, Any]:
    tools = [tool.to_openai() for tool in trace.tools]
    return {"messages": conversation(trace), "tools": tools, **beside(row, trace, shown_turns(trace))}
