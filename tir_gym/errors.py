"""Who failed? One family of errors for each answer, and one way for each to surface.

- The **agent's mistake** (unknown tool, bad arguments) and the **tool's refusal** (`ToolError`): never an
  exception for the caller. The sandbox turns them into `ToolResult.error`; the agent reads it, the reward scores it.
- The **infrastructure's failure** (`InfrastructureError`): a bug in a tool, a dead sandbox. `ToolEnv.step` ends the
  episode with reward 0.0, `truncated=True` and `info["infra_error"]`; statistics and trainers drop the episode.
- The **caller's misuse** (`UsageError`): raised at once, and says what to do instead.
"""

from __future__ import annotations

from typing import Any


class TirGymError(Exception):
    """Base of the errors that this package raises towards its caller."""


class UsageError(TirGymError, ValueError):
    """The caller asked for something that cannot be: the text names the thing, the value and the fix."""


class ContextFull(UsageError):
    """A prompt leaves no room for a token in the model's context: in mid-episode, the conversation has outgrown it."""


class MissingExtra(TirGymError, ImportError):
    """An optional dependency is needed and absent; the text says which extra installs it."""


class InfrastructureError(TirGymError):
    """A tool or its sandbox broke. Never the agent's fault.

    Args:
        message: What broke, for people.
        tool: Name of the tool that was running, if one was.
        kind: Stable name of the failure, for statistics (`tool_bug`, `sandbox_died`, ...).
    """

    def __init__(self, message: str, *, tool: str | None = None, kind: str = "tool_bug") -> None:
        super().__init__(message)
        self.tool = tool
        self.kind = kind


class SandboxDied(InfrastructureError):
    """A sandbox is gone or answers no more, and no code that it ran can have done that."""

    def __init__(self, message: str, *, tool: str | None = None) -> None:
        super().__init__(message, tool=tool, kind="sandbox_died")


class SandboxUnavailable(InfrastructureError):
    """A sandbox cannot be had here: no engine, no image, no server, or a kernel without what it needs.

    Args:
        message: What is missing and how to get it.
        kind: `engine_missing`, `image_missing`, `tier_missing`, `server_missing`, ...
    """

    def __init__(self, message: str, *, kind: str = "sandbox_unavailable") -> None:
        super().__init__(message, kind=kind)


class ToolError(Exception):
    """A tool's declared refusal, raised inside a tool; the agent sees the text as the call's error.

    Args:
        message: For the agent: what is wrong, and what to do instead.
        content: What there was to give back all the same, such as the output of code that failed.
    """

    kind = "refused"

    def __init__(self, message: str = "", *, content: Any = None) -> None:
        super().__init__(message)
        self.content = content


class InvalidArguments(ToolError):
    """The arguments do not fit the tool's schema."""

    kind = "invalid_arguments"


class UnknownTool(ToolError):
    """No tool of that name is offered."""

    kind = "unknown_tool"


class Conflict(ToolError):
    """A call would overwrite what another call of the same turn has just written."""

    kind = "conflict"


class LimitReached(ToolError):
    """The call reached a limit of its sandbox (`Limits`); `kind` says which."""

    kind = "limit"


class CpuLimit(LimitReached):
    """More processor time than `cpu_seconds`."""

    kind = "cpu_limit"


class TimeLimit(LimitReached):
    """More time on the clock than `wall_seconds`."""

    kind = "time_limit"


class MemoryLimit(LimitReached):
    """More than `memory` bytes."""

    kind = "memory_limit"


class ProcessLimit(LimitReached):
    """More than `processes` processes and threads."""

    kind = "process_limit"


class FileLimit(LimitReached):
    """More than `files` files and folders."""

    kind = "file_limit"


class DiskLimit(LimitReached):
    """More than `disk` bytes in files."""

    kind = "disk_limit"


class OutputLimit(LimitReached):
    """More than `output` bytes given back."""

    kind = "output_limit"


class CodeRaised(ToolError):
    """The agent's code raised, or its command ended with a status other than 0."""

    kind = "raised"


class CodeDied(ToolError):
    """The agent's code ended its own interpreter, by a signal or an exit that nothing can catch."""

    kind = "died"
