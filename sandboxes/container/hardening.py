"""What a container may do: as little as an interpreter needs. From limits to the engine's terms, and proof that the
engine has held to them.

These are the outer walls. The same limits are held once more inside, call by call, by the supervisor (`jail/inside/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tir_gym.errors import SandboxUnavailable
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.container.engine import CALL_SECONDS, Engine

USER = 65534
OWN_MEMORY = 192 * MIB
"""What the supervisor and the modules loaded beforehand may take, beside what the agent's code may."""
OWN_PROCESSES = 16
MOST_PICTURES, PAID_PICTURES = 256, 16
"""Snapshots of one container, and how many of them may hold as much memory as they like."""
PAGE = 4096
WORK, TEMPORARY = "/work", "/tmp"


def host_config(
    engine: Engine, limits: Limits, *, cpus: float, network: str | None, runtime: str | None, seccomp: str
) -> dict[str, Any]:
    """The engine's own terms for a container.

    Args:
        engine: Podman takes some of them in another way.
        limits: Of the calls inside. The engine's are wider, so that the supervisor's are reached first, and tell which.
        cpus: Processors' worth of time.
        network: The name of a network of the engine; none where absent.
        runtime: The engine's OCI runtime, as `runsc`.
        seccomp: The profile, or for Podman the path of a file with it.
    """
    client = engine.client
    closed = "ro,nosuid,nodev,noexec,size=4k,mode=0555"
    room = bounds(limits, MOST_PICTURES if engine.is_podman else 0)
    config: dict[str, Any] = client.api.create_host_config(
        network_mode=network or "none",
        read_only=True,
        # Podman would add writable ones at /run and /var/tmp by itself.
        tmpfs={
            WORK: _disk(engine, limits, 0.75),
            TEMPORARY: _disk(engine, limits, 0.25),
            "/run": closed,
            "/var/tmp": closed,
        },
        cap_drop=["ALL"],
        security_opt=["no-new-privileges", f"seccomp={seccomp}"],
        ipc_mode="none",
        mem_limit=room["Memory"],
        memswap_limit=room["MemorySwap"],
        pids_limit=room["PidsLimit"],
        nano_cpus=int(cpus * 1e9),
        # The limit of processes counts per user and not per container, so here it only bounds them all together.
        ulimits=[
            {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            {"Name": "nproc", "Soft": 4096, "Hard": 4096},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        # If all the memory is gone, the kernel must take a child of the supervisor, and not an innocent of the host.
        oom_score_adj=500,
        log_config={"Type": "none"},
        auto_remove=True,
        runtime=runtime,
    )
    return config


def bounds(limits: Limits, pictures: int) -> dict[str, int]:
    """Memory and processes that the engine lets a container have.

    Args:
        limits: Of the calls inside.
        pictures: How many snapshots there may be: each is a process, and may hold as much as a call.
    """
    files = 4 * limits.disk  # files count as memory, and so do those of snapshots
    memory = (1 + min(pictures, PAID_PICTURES)) * limits.memory + files + OWN_MEMORY
    return {"Memory": memory, "MemorySwap": memory, "PidsLimit": limits.processes + OWN_PROCESSES + pictures}


def widen(engine: Engine, id: str, limits: Limits, pictures: int) -> None:
    """Let a running container have what so many snapshots need. Podman gives it from the start.

    Raises:
        SandboxUnavailable: The engine refuses.
    """
    if not engine.is_podman:
        api = engine.client.api
        url = f"{api.base_url}/v{api.api_version}/containers/{id}/update"
        answer = api.post(url, json=bounds(limits, pictures), timeout=CALL_SECONDS)
        if not answer.ok:
            raise SandboxUnavailable(f"{engine} gives no room for snapshots: {answer.text}", kind="engine_refused")


def _disk(engine: Engine, limits: Limits, share: float) -> str:
    """The options of a disk in memory. There have to be two, so each has its share of what may be written."""
    options = f"rw,exec,nosuid,nodev,size={int(limits.disk * share) // PAGE * PAGE},mode=755"
    if engine.is_podman:  # which cannot count files; that is done inside
        return f"{options},U,notmpcopyup"
    return f"{options},uid={USER},gid={USER},nr_inodes={int(limits.files * share) + 1}"


def breach(walls: Mapping[str, str], runtime: str | None) -> SandboxUnavailable | None:
    """Why a container that runs must not be used: its kernel does not show the walls that were asked for.

    Args:
        walls: What PID 1 read of itself before anything else ran (`first.py`).
        runtime: What was asked for. One with a kernel of its own, as gVisor, needs no filter in front of it.
    """
    missing = [f"{name} is {walls.get(name)}" for name in ("CapPrm", "CapEff", "CapBnd") if int(walls[name], 16)]
    if "0" in walls["Uid"].split():
        missing.append(f"Uid is {walls['Uid']}")
    if runtime is None:
        wanted = {"NoNewPrivs": "1", "Seccomp": "2"}
        missing += [f"{name} is {walls.get(name)}" for name, value in wanted.items() if walls.get(name) != value]
    if not missing:
        return None
    return SandboxUnavailable(
        f"the container is not walled in as asked: {', '.join(missing)}. If the engine's default runtime is one with a "
        "kernel of its own, name it: runtime='runsc'",
        kind="walls_missing",
    )


def refused(engine: Engine, runtime: str | None, created: dict[str, Any]) -> SandboxUnavailable | None:
    """Why a container that was made must not be used: the engine has left out something that was asked for.

    Args:
        engine: Whose it is.
        runtime: What was asked for.
        created: The engine's answer to its making: `Id`, `Warnings`.
    """
    warnings = [text for text in created.get("Warnings") or () if text]
    if warnings:
        return SandboxUnavailable(
            f"{engine} cannot hold the limits asked for: {'; '.join(warnings)}", kind="limits_missing"
        )
    if engine.is_podman and runtime:  # it leaves out the runtime without a word
        api = engine.client.api
        found = api.get(f"{api.base_url}/v4.0.0/libpod/containers/{created['Id']}/json").json().get("OCIRuntime")
        if found != runtime:
            return SandboxUnavailable(
                f"{engine} takes its own runtime {found!r} and not {runtime!r}, whatever is asked: make that the "
                "default of its service (containers.conf, [engine] runtime)",
                kind="runtime_missing",
            )
    return None
