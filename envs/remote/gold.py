"""The gold as a server that exposes it sends it: for oracles and probes at a distance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tir_gym.oracle import Oracle
from tir_gym.records import Task, ToolCall


class RemoteOracle(Oracle):
    """What `info["oracle"]` is where the gold was replayed elsewhere."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._task = Task.model_validate(data["task"])

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(ToolCall(**call) for call in self._data["calls"])

    def script(self) -> list[tuple[str, tuple[ToolCall, ...]]]:
        return [
            (
                message.get("content") or "",
                tuple(
                    ToolCall(call["function"]["name"], json.loads(call["function"]["arguments"]))
                    for call in message.get("tool_calls", ())
                ),
            )
            for message in self._data["script"]
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteOracle, (self._data,)
