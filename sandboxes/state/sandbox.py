"""The sandbox over a `State`: validate, run, roll back on refusal, and tell a tool's bug from the agent's mistake."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tir_gym.errors import InfrastructureError, ToolError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Sandbox
from tir_gym.sandboxes.state.ids import IdSource
from tir_gym.sandboxes.state.state import State, World
from tir_gym.tool import Toolkit

log = logging.getLogger("tir_gym.sandbox")


class StateSandbox(Sandbox):
    """Runs a toolkit on a state. Each call is a transaction: a refusal leaves nothing behind.

    Args:
        toolkit: The tools.
        world: Initial data, shared and never written.
        now: The simulated clock.
        ids: Where ids of new records come from; hashed from content by default.
        state_type: A subclass of `State`, where tools want one.
    """

    def __init__(
        self,
        toolkit: Toolkit,
        world: World,
        now: datetime,
        ids: IdSource | None = None,
        state_type: type[State] = State,
    ) -> None:
        self.toolkit = toolkit
        self.specs = toolkit.specs
        self.state = state_type(world, now, ids)
        self._bind()

    def call(self, call: ToolCall) -> ToolResult:
        self.state.begin_turn()
        return self._run(call)

    def run_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        # Tools of this sandbox are short functions on data in memory: running reads in threads would only cost time.
        self.state.begin_turn()
        return [self._run(call) for call in calls]

    # A thread would cost more than such a call.

    async def acall(self, call: ToolCall) -> ToolResult:
        return self.call(call)

    async def arun_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        return self.run_turn(calls)

    def snapshot(self) -> Any:
        return self.state.snapshot()

    def restore(self, snapshot: Any) -> None:
        self.state.restore(snapshot)

    def fork(self) -> StateSandbox:
        twin = StateSandbox.__new__(StateSandbox)
        twin.toolkit, twin.specs, twin.state = self.toolkit, self.specs, self.state.fork()
        twin._bind()
        return twin

    def digest(self) -> str:
        return self.state.digest()

    def diff(self) -> dict[str, Any]:
        return self.state.diff()

    def _bind(self) -> None:
        self._injected: Mapping[type, Any] = dict.fromkeys(type(self.state).__mro__, self.state)

    def _run(self, call: ToolCall) -> ToolResult:
        state = self.state
        state.begin_call()
        tool = None
        try:
            tool = self.toolkit.find(call.name)
            content = tool.run(call.arguments, self._injected)
        except ToolError as refusal:
            state.rollback_call()
            return ToolResult(refusal.content, str(refusal), refusal.kind)
        except Exception as bug:
            state.rollback_call()
            if tool is not None and isinstance(bug, tool.raises):
                return ToolResult(error=str(bug), error_kind="refused")
            log.exception("tool %s broke on arguments %.2000r", call.name, call.arguments)
            raise InfrastructureError(
                f"tool {call.name} raised {type(bug).__name__}: {bug}", tool=call.name, kind="tool_bug"
            ) from bug
        state.commit_call()
        return ToolResult(content=content)
