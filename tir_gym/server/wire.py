"""What of an environment's data crosses the wire, and how it is written: gold and matching stay here unless exposed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.messages import Observation, assistant_message
from tir_gym.oracle import Oracle
from tir_gym.records import Task, ToolSpec
from tir_gym.short_json import writer

# ASCII, so that lone surrogates, which agents do send, cross a protocol that only takes valid Unicode.
write = writer(ensure_ascii=True, separators=(",", ":"))
"""Gives a reply as JSON text."""

EMPTY: dict[str, Any] = {}


def ok(id: int | str, session: str | None, result: Mapping[str, Any]) -> str:
    """The text of a `Reply`."""
    return write({"id": id, "session": session, "ok": True, "result": result})


def failed(id: Any, session: Any, kind: str, message: str, cause: str | None = None) -> str:
    """The text of an `ErrorReply`."""
    error = {"kind": kind, "message": message, "cause": cause}
    return write({"id": id, "session": session, "ok": False, "error": error})


def succeeded(reply: str) -> bool:
    """Whether a reply of ours says so."""
    # What stands before it is text of the client's at most, in which quotation marks are escaped.
    return reply.startswith("true", reply.index('"ok":') + 5)


def reset_result(env: ToolEnv, observation: Observation, info: dict[str, Any], exposed: bool) -> dict[str, Any]:
    """What `reset` gave, for a client."""
    public = {key: value for key, value in info.items() if key != "oracle"}
    if exposed:
        public["oracle"] = _oracle(info["oracle"])
    return {"observation": observation, "info": public, "tags": public_tags(env.task, exposed)}


def public_tags(task: Task, exposed: bool) -> tuple[str, ...]:
    """A task's labels, for a client: they say how many calls the gold has, and whether there is an answer."""
    return task.tags if exposed else ()


def public_tool(spec: ToolSpec, exposed: bool) -> ToolSpec:
    """A tool, for a client: how its calls are held against the gold is of the matching."""
    return spec if exposed else spec.model_copy(update={"comparators": {}, "same_result": ""})


def step_result(played: Sequence[Any], exposed: bool) -> dict[str, Any]:
    """What `step` gave, for a client."""
    observation, reward, terminated, truncated, info = played
    match = info.get("match")
    if match is not None:
        info = {key: value for key, value in info.items() if key != "match"}
        if exposed:
            info["match"] = match.to_dict()
    return {
        "observation": observation,
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "info": info,
    }


def trace_result(env: ToolEnv, exposed: bool, chosen: Collection[str] = ()) -> dict[str, Any]:
    """The episode's record, for a client.

    Args:
        env: Whose episode it is.
        exposed: Whether clients see the gold.
        chosen: Names of the options that the client chose itself. The others are the operator's: a task with its gold,
            a password. They are in no record that leaves, exposed or not.
    """
    data = env.trace().model_dump()
    made_with = data["provenance"]["env_kwargs"]
    data["provenance"]["env_kwargs"] = {name: value for name, value in made_with.items() if name in chosen}
    if not exposed:
        data["matches"], data["gold_calls"] = (), 0
        data["tools"] = [public_tool(spec, exposed).model_dump() for spec in env.task.tools]
        for turn in data["turns"]:
            turn["parts"] = EMPTY
    return {"trace": data}


def _oracle(oracle: Oracle) -> dict[str, Any]:
    return {
        "task": oracle.task.model_dump(),
        "calls": [call.model_dump() for call in oracle.calls],
        "script": [assistant_message(text, calls) for text, calls in oracle.script()],
    }
