"""MCP servers as attackers: they hang, flood, lie, forge and die, and the host goes on.

`test_mcp_hostile.py` holds each failure to its type; here the host is what is looked at, and a client without
protection shows that each attack is one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")

from tir_gym.errors import InfrastructureError
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox

HERE = Path(__file__).parent
GRACE = 10.0


@dataclass(frozen=True)
class McpCase:
    """One attack: the server's `mode`, `what` it is told to do, and what happens to a client without protection."""

    name: str
    about: str
    mode: str
    what: str
    canary: str

    def __str__(self) -> str:
        return self.name


CASES = (
    McpCase("mcp_hang", "never answers", "good", "hang", "time"),
    McpCase("mcp_endless", "answers with a line that never ends", "good", "endless", "time"),
    McpCase("mcp_huge", "answers with 64 MB", "good", "huge", "output"),
    McpCase("mcp_errors_flood", "floods its standard error until somebody reads it", "good", "stderr", "time"),
    McpCase("mcp_noise", "prints what is no message", "good", "noise", "infrastructure"),
    McpCase("mcp_requests", "asks in its turn, for ever", "good", "requests", "infrastructure"),
    McpCase("mcp_forged", "answers what others have asked", "good", "forged", "forged"),
    McpCase("mcp_torn", "answers with half a message", "good", "malformed", "infrastructure"),
    McpCase("mcp_lie", "answers with content of another shape", "good", "wrong-shape", "infrastructure"),
    McpCase("mcp_dies", "ends in the middle of a call", "good", "die", "infrastructure"),
    McpCase("mcp_killed", "is killed in the middle of a call", "good", "killed", "infrastructure"),
    McpCase("mcp_mute", "does not even say hello", "mute", "", "time"),
    McpCase("mcp_babbles", "prints lines for ever instead of saying hello", "babbles", "", "infrastructure"),
    McpCase("mcp_pages", "lists tools without end", "endless-pages", "", "time"),
    McpCase(
        "mcp_schemas",
        "has schemas that take for ever, or go round in circles",
        "slow-schemas",
        "",
        "time infrastructure",
    ),
)


@pytest.mark.parametrize("jailed", [False, True], ids=["free", "jailed"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_attack_fails(case: McpCase, jailed: bool) -> None:
    before, token = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, secrets.token_hex(8)
    shown = error = ""
    began = time.monotonic()
    sandbox = make_sandbox(
        "mcp",
        command=sys.executable,
        args=["-I", "/server.py" if jailed else str(HERE.parent / "mcp_hostile.py"), case.mode, token],
        limits={"wall_seconds": 1.0, "output": 10_000},
        start_seconds=4.0,
        **({"jailed": True, "read_only": {str(HERE.parent / "mcp_hostile.py"): "/server.py"}} if jailed else {}),
    )
    try:
        with sandbox:
            result = sandbox.call(ToolCall("do", {"what": case.what}))
            shown, error = str(result.content or ""), result.error or ""
    except InfrastructureError:
        pass  # a server is not the agent, so its failures are the host's to know
    took = time.monotonic() - began
    assert took < 5.0 + GRACE, f"took {took:.1f} s"
    assert len(shown) + len(error) < 30_000
    assert shown != "forged"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    assert grown < 400, f"the host grew by {grown} MB"
    with make_sandbox("mcp", command=sys.executable, args=["-I", str(HERE.parent / "mcp_hostile.py"), "good"]) as other:
        assert other.call(ToolCall("write", {"text": "a"})).content == "1 kept"
    end = time.monotonic() + GRACE
    while (left := _named(token)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


@pytest.mark.parametrize("case", CASES, ids=str)
def test_server_gets_through_where_nothing_protects(case: McpCase) -> None:
    command = [sys.executable, str(HERE / "naive_mcp.py"), case.mode, case.what]
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, _ = client.communicate(timeout=2.5 if "time" in case.canary else 30)
    except subprocess.TimeoutExpired:
        seen = "time"
    else:
        seen = "infrastructure" if client.returncode else "output" if len(out) > 1 << 20 else out.decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, 9)
        client.communicate()
    assert seen in case.canary.split()


def _named(token: str) -> list[str]:
    """Processes that have the word among their arguments."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if token.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
