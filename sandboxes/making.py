"""A sandbox from the name of its kind."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

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
        UsageError: No such kind, or limits or options that it does not take.
        MissingExtra: The kind needs a package that is not installed.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"no sandbox {kind!r}; choose one of {', '.join(sorted(KINDS))}")
    module, name = KINDS[kind]
    make = getattr(importlib.import_module(module), name)
    if kind != "state":  # a state's tools run in this process, so nothing of it could be limited
        options["limits"] = read_limits(limits)
    elif limits is not None:
        raise UsageError("limits: the sandbox 'state' runs tools in this process and takes none")
    _check_options(kind, make, options)
    sandbox: Sandbox = make(**options)
    return sandbox


def read_limits(given: Limits | Mapping[str, Any] | None) -> Limits:
    """Limits from a record or from its fields; the defaults for what is absent.

    Raises:
        UsageError: No such limit, or a value that it cannot have.
    """
    if isinstance(given, Limits):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"limits={given!r}: give a Limits, or its fields such as {{'wall_seconds': 10}}")
    try:
        return Limits.model_validate(dict(given or {}))
    except ValidationError as error:
        raise UsageError("; ".join(map(_sentence, error.errors(include_url=False)))) from None


def _sentence(fault: Any) -> str:
    name, value = ".".join(map(str, fault["loc"])), fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"no limit {name!r}; there are {', '.join(Limits.model_fields)}"
    return f"limit {name}={value!r}: {fault['msg'].replace('Input should', 'should')}"


def _check_options(kind: str, make: Any, options: Mapping[str, Any]) -> None:
    parameters = inspect.signature(make).parameters
    taken = [name for name in parameters if name != "limits"]
    for name in options.keys() - parameters.keys():
        if name in Limits.model_fields and kind != "state":
            raise UsageError(f"{name} is a limit: limits={{{name!r}: {options[name]!r}}}")
        hint = ""
        if name == "network":
            hint = "; nothing in it can reach one, make_sandbox('container', network=...) can name one"
        raise UsageError(f"the sandbox {kind!r} has no option {name!r}; it has {', '.join(taken)}{hint}")
    missing = [
        name for name, one in parameters.items() if one.default is inspect.Parameter.empty and name not in options
    ]
    if missing:
        raise UsageError(f"the sandbox {kind!r} needs {', '.join(missing)}")
