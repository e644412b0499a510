"""The contract between an environment and the place where its tools run.

`ToolEnv` knows only this protocol; `sandboxes/` holds the implementations. A sandbox lives from `start` to `close`,
runs one call at a time or one turn of calls, and can be photographed: `snapshot`, `restore`, `fork`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from tir_gym.records import ToolCall, ToolResult, ToolSpec


class Sandbox(ABC):
    """Where tools run. Subclasses implement the abstract methods; a sandbox is a context manager."""

    specs: tuple[ToolSpec, ...]
    """The tools that can be called."""

    def start(self) -> None:  # noqa: B027  a sandbox that needs no start has nothing to do here
        """Make ready for calls. Called once, before the first call."""

    @abstractmethod
    def call(self, call: ToolCall) -> ToolResult:
        """Run one call.

        Returns:
            Content, or the agent's mistake or the tool's refusal as an error.

        Raises:
            InfrastructureError: The tool or the sandbox broke.
        """

    def run_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Run the calls of one message, in order; one result each.

        A sandbox may run neighbouring reads at the same time; writes run in order. Where a call would undo what
        another call of the same turn has just written, it gets an error of kind `conflict`.
        """
        return [self.call(call) for call in calls]

    @abstractmethod
    def snapshot(self) -> Any:
        """An opaque picture of the state; costs what has changed since the start, not the whole state."""

    @abstractmethod
    def restore(self, snapshot: Any) -> None:
        """Go back to a picture taken of this sandbox or of a fork of it."""

    @abstractmethod
    def fork(self) -> Self:
        """An independent sandbox in the same state."""

    @abstractmethod
    def digest(self) -> str:
        """Hex digest of the state; equal states have equal digests."""

    @abstractmethod
    def diff(self) -> dict[str, Any]:
        """What has changed since the start, as plain data."""

    def close(self) -> None:  # noqa: B027  a sandbox that holds nothing has nothing to give back
        """Give back whatever is held. Safe to call twice."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
