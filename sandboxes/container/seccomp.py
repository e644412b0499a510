"""The engine's filter on system calls, written from the jail's own table (`jail/inside/syscalls.py`).

An allow-list, like the jail's: what is not named fails. It holds for the supervisor too; agents' processes stand under
the jail's own filter besides. Engines' default profiles are not enough: Podman's lets namespaces be
made, older ones of Docker's let io_uring through.
"""

from __future__ import annotations

import errno
import json
from typing import Any

from tir_gym.errors import SandboxUnavailable
from tir_gym.sandboxes.jail.inside.seccomp import (
    AF_UNIX,
    NAMESPACES,
    NETWORK,
    REQUESTS,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    SO_PASSCRED,
    SOCK_STREAM,
    SOL_SOCKET,
)
from tir_gym.sandboxes.jail.inside.syscalls import numbers

ARCHITECTURES = {"amd64": ("x86_64", "SCMP_ARCH_X86_64"), "arm64": ("aarch64", "SCMP_ARCH_AARCH64")}
"""Processors as engines call them, as the jail's table does, and as profiles do."""
NEEDED_BY_THE_SUPERVISOR = ("seccomp", "memfd_create")
"""It puts each process of an agent under the jail's own filter, where these are refused."""


def profile(architecture: str, *, network: bool = False) -> str:
    """The profile as engines read it, JSON.

    Args:
        architecture: `amd64` or `arm64`.
        network: Whether sockets may be made.

    Raises:
        SandboxUnavailable: There is no table for that processor.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise SandboxUnavailable(f"no filter for the engine's processor {architecture!r}; known: {known}")
    machine, name = ARCHITECTURES[architecture]
    table = numbers(machine)
    allowed = {*table["allowed"], *NEEDED_BY_THE_SUPERVISOR, *(NETWORK if network else ())}
    rules = [_rule(sorted(allowed))]
    for call in table["examined"]:
        if call not in allowed:
            rules += [_rule([call], arguments) for arguments in _examined(call)]
    # Programs try an older way where a call is absent, and give up where it is refused.
    absent = sorted(set(table["absent"]) - allowed)
    rules.append({"names": absent, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno.EPERM,
            "architectures": [name],  # calls of another instruction set kill the process
            "syscalls": rules,
        }
    )


def _rule(names: list[str], arguments: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": arguments or []}


def _examined(call: str) -> list[list[dict[str, Any]]]:
    """Ways in which the call may be made: one list each of what must hold of its arguments."""
    if call == "clone":
        return [[_masked(0, NAMESPACES, 0)]]
    if call == "socketpair":
        return [[_equal(0, AF_UNIX), _masked(1, 0xF, SOCK_STREAM)]]
    if call == "ioctl":
        return [[_equal(1, request)] for request in REQUESTS]
    if call in ("mknod", "mknodat"):
        return [[_masked(1 if call == "mknod" else 2, S_IFMT, kind)] for kind in (S_IFIFO, S_IFREG)]
    if call == "setsockopt":
        return [[_equal(1, SOL_SOCKET), _equal(2, SO_PASSCRED)]]
    raise ValueError(f"no rule for {call}")


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
