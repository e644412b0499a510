"""Episodes as OpenAI messages, the form that supervised fine-tuning reads: `{"messages": [...], "tools": [...]}`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO

from tir_gym.records import Message, Trace, Turn
from tir_gym.store.jsonl import opened_to_write
from tir_gym.store.run import Run


def export_openai(run: Run, file: str | Path | TextIO, *, only_success: bool = False) -> int:
    """Write one conversation per line, by task id and repeat; infrastructure failures are left out.

    Args:
        run: The run.
        file: A path, or an open text file.
        only_success: Leave out episodes that did not succeed.

    Returns:
        How many.
    """
    count = 0
    with opened_to_write(file) as out:
        for row in run.episodes():
            if row.infra_error is not None or (only_success and not row.success):
                continue
            trace = row.trace()
            line = {"messages": conversation(trace), "tools": [tool.to_openai() for tool in trace.tools]}
            out.write(json.dumps(line) + "\n")
            count += 1
    return count


def conversation(trace: Trace) -> list[Message]:
    """All messages of an episode, in OpenAI's form: every call has an id, and the tool message after it that id.

    What could not be read as a call is left out together with the complaint about it, and a turn that was nothing
    else is left out whole: there is no right form of it to show, and nothing to learn from it.
    """
    messages = [dict(message) for message in trace.messages]
    for turn in trace.turns:
        messages += _messages(turn)
    return messages


def _messages(turn: Turn) -> list[Message]:
    if turn.malformed and not turn.calls:
        return []
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
