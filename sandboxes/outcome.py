"""How code ended in a slot, told to the agent: what was printed, or the error that it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tir_gym.errors import (
    CodeDied,
    CodeRaised,
    CpuLimit,
    DiskLimit,
    FileLimit,
    MemoryLimit,
    OutputLimit,
    ProcessLimit,
    SandboxDied,
    TimeLimit,
    ToolError,
)
from tir_gym.sandbox import Limits

_LIMITS: Mapping[str, tuple[type[ToolError], str]] = {
    "cpu_limit": (CpuLimit, "stopped after {0.cpu_seconds:g} s of processor time"),
    "time_limit": (TimeLimit, "stopped after {0.wall_seconds:g} s"),
    "memory_limit": (MemoryLimit, "more than {0.memory} bytes of memory"),
    "process_limit": (ProcessLimit, "more than {0.processes} processes and threads"),
    "file_limit": (FileLimit, "more than {0.files} files and folders"),
    "disk_limit": (DiskLimit, "more than {0.disk} bytes on disk"),
}


def printed(reply: Mapping[str, Any], limits: Limits) -> str:
    """What the code printed, if it ended well.

    Args:
        reply: Of a slot to `call` or `run`.
        limits: Those of the call, for the text of an error.

    Raises:
        ToolError: It did not end well; with what it had printed. The class says how.
    """
    out, err, status = reply["out"], reply["err"], reply["status"]
    lost = " The interpreter was started anew: variables are gone, files are kept." if reply.get("lost") else ""
    if status == "ok":
        text: str = out + err
        if reply["truncated"]:
            raise OutputLimit(f"more than {limits.output} bytes of output; the rest is cut off", content=text)
        return text
    if status == "raised":
        reason = err.strip() or f"ended with status {reply['code']}"
        raise CodeRaised(reason + lost, content=out or None)
    shown = out + err or None
    if status == "died":
        how = f"by signal {-reply['code']}" if (reply.get("code") or 0) < 0 else f"with status {reply.get('code')}"
        raise CodeDied(f"the process ended {how}.{lost}", content=shown)
    if status not in _LIMITS:
        raise SandboxDied(f"the slot answered with the unknown status {status!r}")
    kind, text = _LIMITS[status]
    raise kind(f"{text.format(limits)}.{lost}", content=shown)
