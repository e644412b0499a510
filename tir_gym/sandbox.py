"""The contract between an environment and the place where its tools run.

`ToolEnv` knows only this protocol; `sandboxes/` holds the implementations. A sandbox lives from `start` to `close`,
runs one call at a time or one turn of calls, and can be photographed: `snapshot`, `restore`, `fork`. `Limits` mean the
same in all of them; what happens when one is reached is in `errors.py`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from pydantic import Field

from tir_gym.errors import UsageError
from tir_gym.records import Record, ToolCall, ToolResult, ToolSpec

MIB = 1 << 20

# There is no value for "no limit": kernels, databases and clocks take a number, and only one that they can hold.
_MOST_SECONDS = 1_000_000.0
_MOST_BYTES = 1 << 40
_MOST_ENTRIES = 1 << 22


class Limits(Record):
    """What a sandbox may use. Reaching a limit is the agent's doing: the call gets an error of the kind in brackets.

    A sandbox to which a limit means nothing (a table in memory opens no files) ignores it; one that cannot hold a
    limit that means something to it refuses to start.
    """

    cpu_seconds: float = Field(default=10.0, gt=0, le=_MOST_SECONDS)
    """Processor time of one call, all its processes together (`cpu_limit`)."""
    wall_seconds: float = Field(default=20.0, gt=0, le=_MOST_SECONDS)
    """Time on the clock of one call (`time_limit`)."""
    memory: int = Field(default=512 * MIB, ge=16 * MIB, le=_MOST_BYTES)
    """Bytes of anonymous and shared memory of all processes together, beyond what the modules loaded beforehand take
    (`memory_limit`)."""
    processes: int = Field(default=64, ge=1, le=_MOST_ENTRIES)
    """Processes and threads at one time (`process_limit`)."""
    files: int = Field(default=4096, ge=16, le=_MOST_ENTRIES)
    """Files and folders that may exist on the writable disk (`file_limit`)."""
    disk: int = Field(default=64 * MIB, ge=MIB, le=_MOST_BYTES)
    """Bytes on the writable disk (`disk_limit`)."""
    output: int = Field(default=MIB, ge=1, le=_MOST_BYTES)
    """Bytes that one call may give back; the rest is read and dropped (`output_limit`)."""


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

    # The same for asynchronous callers: in a thread, unless a sandbox can do better.

    async def astart(self) -> None:
        """`start`, without blocking the event loop."""
        await asyncio.to_thread(self.start)

    async def acall(self, call: ToolCall) -> ToolResult:
        """`call`, without blocking the event loop."""
        return await asyncio.to_thread(self.call, call)

    async def arun_turn(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """`run_turn`, without blocking the event loop."""
        return await asyncio.to_thread(self.run_turn, calls)

    async def aclose(self) -> None:
        """`close`, without blocking the event loop."""
        await asyncio.to_thread(self.close)

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_picture(snapshot: Any, kind: type) -> None:
    """See that what is to be restored is a picture of such a sandbox.

    Args:
        snapshot: What the caller gave.
        kind: The type of this kind's pictures.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(snapshot, kind):
        raise UsageError(
            f"restore({snapshot!r:.80}): give what snapshot() of this sandbox, or of a fork of it, has returned"
        )
