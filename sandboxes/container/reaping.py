"""Who a container belongs to, written on it, and the removal of those whose owner is gone.

A container ends by itself when its owner does (`stream.py`). What is removed here are the rest: made and never started
because their owner was killed in between, or kept by an engine that could not remove them at the time.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from tir_gym.sandboxes.container.engine import Engine, failures, sdk

OWNER = "tir-gym.owner"
"""The label that says whose a container is."""


def owner() -> str:
    """This process, so that no other is ever taken for it: boot, process namespace, process id, when it started."""
    return f"{_world()} {os.getpid()} {started(os.getpid())}"


def orphaned(label: str) -> bool:
    """Whether the owner that a label names has ended for certain."""
    parts = label.rsplit(" ", 2)
    if len(parts) != 3 or not parts[1].isdigit():
        return False
    world, process, since = parts
    return world == _world() and started(int(process)) != since


def reap(engine: Engine) -> list[str]:
    """Remove the containers of this engine whose owner has ended.

    Those of other machines and of other process namespaces are left alone, because whether their owner lives cannot be
    seen from here.

    Returns:
        The ids of the removed.

    Raises:
        SandboxUnavailable: The engine refused.
        SandboxDied: The engine is gone.
    """
    removed = []
    errors = sdk().errors
    with failures(engine, "to list containers"):
        for found in engine.client.api.containers(all=True, filters={"label": OWNER}):
            if orphaned(found["Labels"][OWNER]):
                with suppress(errors.APIError):  # removed by somebody else, or just being removed
                    engine.client.api.remove_container(found["Id"], force=True, v=True)
                    removed.append(str(found["Id"]))
    return removed


def _world() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux: the engine runs in a virtual machine, and nobody is ever taken for gone
        return f"unknown {uuid.uuid4()}"


def started(process: int) -> str:
    """In clock ticks since boot; `-` if there is no such process, or it has ended and was not yet waited for."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-"
    return "-" if fields[0] == "Z" else fields[19]
