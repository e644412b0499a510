"""Episodes as ATIF trajectories (Agent Trajectory Interchange Format, version 1.7): one JSON document per line.

The format is Harbor's RFC 0001 (https://harborframework.com/docs/trajectory-format). A step is a message; a turn of the
agent holds its calls, what came back, and in `extra` what it was paid and with which gold calls its calls were matched.
It is a log: turns that could not be read are in it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tir_gym.dialects.dialect import thoughts_of
from tir_gym.records import Trace, Turn
from tir_gym.store.learning import write_lines
from tir_gym.store.run import EpisodeRow, Run

ATIF_VERSION = "ATIF-v1.7"

_SOURCES = {"system": "system", "user": "user", "assistant": "agent"}


def export_atif(run: Run, file: str | Path | TextIO, *, only_success: bool = False) -> int:
    """Write one trajectory per line, by task id and repeat; infrastructure failures are left out.

    Args:
        run: The run; its name is the trajectories' `session_id`.
        file: A path, or an open text file.
        only_success: Leave out episodes that did not succeed.

    Returns:
        How many.
    """
    return write_lines(run, file, partial(trajectory, run.name), only_success=only_success)


def trajectory(session: str, row: EpisodeRow, trace: Trace) -> dict[str, Any]:
    """An episode as a trajectory.

    Args:
        session: What the episode was a part of.
        row: Its figures.
        trace: The episode.
    """
    steps: list[dict[str, Any]] = [_message(message) for message in trace.messages]
    for number, turn in enumerate(trace.turns):
        steps.append(_turn(trace, number, turn))
        steps += [_message(message) for message in turn.observation if message["role"] != "tool"]
    recorded = trace.provenance
    agent = recorded.agent or "unknown"
    return {
        "schema_version": ATIF_VERSION,
        "session_id": session,
        "trajectory_id": f"{session}/{row.task_id}/{row.repeat}",
        "agent": {
            "name": agent,
            "version": f"tir-gym {recorded.tir_gym}",
            **({"model_name": agent.removeprefix("llm:").partition("@")[0]} if agent.startswith("llm:") else {}),
            "tool_definitions": [tool.to_openai() for tool in trace.tools],
        },
        "steps": [{"step_id": i, **step} for i, step in enumerate(steps, start=1)],
        "final_metrics": {
            **_tokens(row.usage),
            "total_steps": len(steps),
            "extra": {"return": row.return_, "success": bool(row.success), "oracle_return": row.oracle_return},
        },
        "extra": {
            "env_id": recorded.env_id,
            "task_id": row.task_id,
            "repeat": row.repeat,
            "seed": recorded.seed,
            "ending": trace.ending,
            "checks": dict(trace.checks),
            "gold_calls": trace.gold_calls,
        },
    }


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    source = _SOURCES.get(str(message["role"]), "system")
    return {"source": source, "message": str(message.get("content") or "")}


def _turn(trace: Trace, number: int, turn: Turn) -> dict[str, Any]:
    answers = [message for message in turn.observation if message["role"] == "tool"]
    # The environment names the tool in its answer to a call, and only there; the others complain.
    ids = [str(message["tool_call_id"]) for message in answers if "name" in message]
    step: dict[str, Any] = {"source": "agent", "message": turn.text}
    if thoughts := thoughts_of(turn.action):
        step["reasoning_content"] = "\n\n".join(thoughts)
    if turn.calls:
        step["tool_calls"] = [
            {"tool_call_id": id, "function_name": call.name, "arguments": dict(call.arguments)}
            for id, call in zip(ids, turn.calls, strict=True)
        ]
    if answers:
        step["observation"] = {
            "results": [
                {
                    **({"source_call_id": str(message["tool_call_id"])} if "name" in message else {}),
                    "content": str(message["content"]),
                }
                for message in answers
            ]
        }
    step["extra"] = {
        "reward": turn.reward,
        "reward_parts": dict(turn.parts),
        "turn_reward": trace.turn_rewards[number],
        "matches": [match.model_dump() for match in trace.matches if match.turn == number],
        "malformed": list(turn.malformed),
    }
    return step


def _tokens(usage: Mapping[str, float]) -> dict[str, int]:
    names = {"prompt_tokens": "total_prompt_tokens", "completion_tokens": "total_completion_tokens"}
    return {told: int(usage[name]) for name, told in names.items() if name in usage}
