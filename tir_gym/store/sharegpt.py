"""Episodes in the ShareGPT form with tools, as LLaMA-Factory reads it (its data/README.md, "Sharegpt Format").

    {"conversations": [{"from": "human", "value": "..."}, {"from": "function_call", "value": "[...]"},
                       {"from": "observation", "value": "..."}, {"from": "gpt", "value": "..."}],
     "system": "...", "tools": "[...]"}

The form knows two sides that speak by turns: `human` and `observation` in odd places, `gpt` and `function_call` in even
ones, the last word being the agent's. So what one side says in a row becomes one message, what came after the agent's
last word is left out, and a message with calls holds nothing but its calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from tir_gym.records import Trace
from tir_gym.store.learning import beside, write_lines
from tir_gym.store.messages import shown_turns, turn_messages
from tir_gym.store.run import EpisodeRow, Run

_AGENT = ("gpt", "function_call")


def export_sharegpt(run: Run, file: str | Path | TextIO, *, only_success: bool = False) -> int:
    """Write one conversation per line, by task id and repeat, with rewards by turn (`learning.py`).

    Args:
        run: The run.
        file: A path, or an open text file.
        only_success: Leave out episodes that did not succeed.

    Returns:
        How many; an episode in which the agent said nothing that can be shown is none.
    """
    return write_lines(run, file, _line, only_success=only_success)


def _line(row: EpisodeRow, trace: Trace) -> dict[str, Any] | None:
    system = "\n\n".join(str(message["content"]) for message in trace.messages if message["role"] == "system")
    said: list[dict[str, str]] = []
    for message in trace.messages:
        if message["role"] != "system":
            _say(said, "gpt" if message["role"] == "assistant" else "human", str(message.get("content") or ""))
    turns = shown_turns(trace)
    rewarded = []
    for turn in turns:
        if said and said[-1]["from"] in _AGENT:  # the user said nothing to the last message
            _say(said, "human", "")
        message, *answers = turn_messages(trace.turns[turn])
        _speak(said, message)
        rewarded.append(turn)
        results = [answer["content"] for answer in answers if answer["role"] == "tool"]
        if results:
            _say(said, "observation", str(results[0]) if len(results) == 1 else json.dumps(results, ensure_ascii=False))
        for answer in answers:
            if answer["role"] != "tool":
                _say(said, "human", str(answer["content"]))
    while said and said[-1]["from"] not in _AGENT:
        said.pop()
    if not rewarded or not said:
        return None
    tools = json.dumps([tool.to_openai()["function"] for tool in trace.tools], ensure_ascii=False)
    return {"conversations": said, "system": system, "tools": tools, **beside(row, trace, rewarded)}


def _speak(said: list[dict[str, str]], message: Mapping[str, Any]) -> None:
    calls = [
        {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}
        for call in message.get("tool_calls", ())
    ]
    if calls:
        said.append({"from": "function_call", "value": json.dumps(calls, ensure_ascii=False)})
    else:
        said.append({"from": "gpt", "value": str(message["content"])})


def _say(said: list[dict[str, str]], who: str, text: str) -> None:
    """Say something that is not the agent's; what follows words of the same side is joined to them."""
    if said and (said[-1]["from"] in _AGENT) == (who in _AGENT):
        said[-1]["value"] = f"{said[-1]['value']}\n\n{text}"
    else:
        said.append({"from": who, "value": text})
