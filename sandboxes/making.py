"""A sandbox from the name of its kind."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from tir_gym.errors import UsageError
from tir_gym.sandbox import Limits, Sandbox

# Imported when asked for: each kind needs something that the others do not.
KINDS: Mapping[str, tuple[str, str]] = {
    "state": ("tir_gym.sandboxes.state", "StateSandbox"),
    "jail": ("tir_gym.sandboxes.jail", "JailSandbox"),
    "shell": ("tir_gym.sandboxes.shell", "ShellSandbox"),
    "sql": ("tir_gym.sandboxes.sql", "SqlSandbox"),
    "container": ("tir_gym.sandboxes.container", "ContainerSandbox"),
    "mcp": ("tir_gym.sandboxes.mcp", "McpSandbox"),
    "wasi": ("tir_gym.sandboxes.wasi", "WasiSandbox"),
}


def make_sandbox(kind: str, *, limits: Limits | Mapping[str, Any] | None = None, **options: Any) -> Sandbox:
    """Make a sandbox; use it as a context manager, or call `start` and `close`.

    Args:
        kind: `jail` (Python), `shell` (commands on files), `sql`, `container`, `wasi`, `mcp` or `state`.
        limits: What it may use, as `Limits` or its fields; the defaults of `Limits` where absent.
        options: The kind's own, see its class.

    Raises:
        UsageError: No such kind, or options that it does not take.
        MissingExtra: The kind needs a package that is not installed.
    """
    if kind not in KINDS:
        raise UsageError(f"no sandbox {kind!r}; choose one of {', '.join(sorted(KINDS))}")
    module, name = KINDS[kind]
    make = getattr(importlib.import_module(module), name)
    if kind != "state":  # a state's tools run in this process, so nothing of it could be limited
        options["limits"] = limits if isinstance(limits, Limits) else Limits.model_validate(limits or {})
    elif limits is not None:
        raise UsageError("limits: the sandbox 'state' runs tools in this process and takes none")
    try:
        sandbox: Sandbox = make(**options)
    except TypeError as error:
        raise UsageError(f"sandbox {kind!r}: {error}") from error
    return sandbox
