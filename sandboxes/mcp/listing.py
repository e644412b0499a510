"""From what a server lists as its tools to specifications and checks, or to a reason why not."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pydantic

from tir_gym.compare import comparator
from tir_gym.errors import InvalidArguments, UnknownTool, UsageError
from tir_gym.records import Effect, ToolSpec
from tir_gym.sandboxes.mcp.schema import SchemaCheck, short

META = "tir-gym"
"""Where our own servers put what MCP has no field for, under `_meta`."""
MAX_SCHEMAS = 4 << 20
"""Bytes of JSON in all schemas of a server."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class RefusedTool:
    """A listed tool that cannot be offered."""

    server: str
    tool: str
    reason: str

    def __str__(self) -> str:
        return f"{self.server}: tool {self.tool}: {self.reason}"


@dataclass(frozen=True)
class ListedTool:
    """A tool that can be offered."""

    spec: ToolSpec
    arguments: SchemaCheck
    result: SchemaCheck | None
    """For the structured content of results, where the server has declared it."""

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Check the agent's arguments.

        Raises:
            InvalidArguments: With one sentence per fault.
        """
        try:
            json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
        except RecursionError:
            raise InvalidArguments("the arguments are nested too deeply; send a flat object") from None
        except UnicodeEncodeError:
            raise InvalidArguments("the arguments hold text that is no valid Unicode; send other characters") from None
        except (TypeError, ValueError) as error:
            raise InvalidArguments(f"the arguments are no JSON: {error}") from None
        faults = self.arguments.faults(dict(arguments))
        if faults:
            raise InvalidArguments("; ".join(faults))


@dataclass(frozen=True)
class Listing:
    """The tools of a server."""

    tools: tuple[ListedTool, ...]
    refused: tuple[RefusedTool, ...]

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(tool.spec for tool in self.tools)

    @cached_property
    def by_name(self) -> dict[str, ListedTool]:
        return {tool.spec.name: tool for tool in self.tools}

    def find(self, name: str) -> ListedTool:
        """The tool of that name.

        Raises:
            UnknownTool: With the nearest names.
        """
        found = self.by_name.get(name)
        if found is None:
            names = [*self.by_name]
            near = difflib.get_close_matches(name[:64], names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the tools are: {', '.join(names[:40])}"
            raise UnknownTool(f"there is no tool named {short(name)}; {hint}")
        return found


def read_tools(server: str, entries: Iterable[Any], *, effects: Mapping[str, Effect] | Effect | None = None) -> Listing:
    """Read the entries of a `tools/list` result.

    A tool's effect is what `effects` says, else what the annotations hint at: `read` under `readOnlyHint`,
    `irreversible` under `destructiveHint`, and `write` where nothing is hinted, for it may be one.

    Args:
        server: Its name, for the reasons.
        entries: As on the wire: `name`, `description`, `inputSchema`, `outputSchema`, `annotations`, `_meta`.
        effects: By name of the tool, or one for all; hints are a stranger's word.

    Raises:
        UsageError: `effects` names a tool that is not listed.
    """
    tools: dict[str, ListedTool] = {}
    refused: list[RefusedTool] = []
    spent = 0
    for number, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, Mapping) else None
        shown = name if isinstance(name, str) and name else f"number {number}"
        try:
            if name in tools:
                raise ValueError("name: listed twice; the first one is kept")
            if spent > MAX_SCHEMAS:
                raise ValueError(f"inputSchema: the tools before it have used up {MAX_SCHEMAS} bytes of schemas")
            tool = _read_tool(entry, effects)
        except ValueError as fault:
            refused.append(RefusedTool(server, shown[:200], str(fault)))
        else:
            tools[tool.spec.name] = tool
            spent += tool.arguments.size + (tool.result.size if tool.result is not None else 0)
    if isinstance(effects, Mapping) and set(effects) - set(tools):
        raise UsageError(
            f"effects: {server} offers no tools {sorted(set(effects) - set(tools))}; it offers {', '.join(tools)}"
        )
    return Listing(tuple(tools.values()), tuple(refused))


def _read_tool(entry: Any, effects: Mapping[str, Effect] | Effect | None) -> ListedTool:
    if not isinstance(entry, Mapping):
        raise ValueError(f"the entry is {short(entry)}, not an object")
    name = entry.get("name")
    if not isinstance(name, str):
        raise ValueError(f"name: {short(name)} is no text")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name: {short(name)} is not 1 to 64 letters, digits, '_', '-' and '.'")
    description = entry.get("description") or entry.get("title") or ""
    if not isinstance(description, str):
        raise ValueError(f"description: {short(description)} is no text")
    arguments, schema = _arguments(entry)
    result = None
    if entry.get("outputSchema") is not None:
        try:
            result = SchemaCheck(entry["outputSchema"])
        except ValueError as fault:
            raise ValueError(f"outputSchema: {fault}") from None
    ours = _ours(entry.get("_meta"))
    hinted = _hinted(entry.get("annotations"))
    effect = effects if isinstance(effects, str) else (effects or {}).get(name, hinted)
    try:
        spec = ToolSpec(name=name, description=description, parameters=schema, effect=effect, **ours)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}") from None
    return ListedTool(spec, arguments, result)


def _arguments(entry: Mapping[str, Any]) -> tuple[SchemaCheck, dict[str, Any]]:
    schema = entry.get("inputSchema")
    if schema is None:
        raise ValueError("inputSchema: there is none")
    try:
        check = SchemaCheck(schema)
    except ValueError as fault:
        raise ValueError(f"inputSchema: {fault}") from None
    if schema.get("type") != "object":
        raise ValueError(f"inputSchema: its type is {short(schema.get('type'))}, not 'object'")
    # Endpoints of models insist on `properties`, even where there are none.
    return check, dict(schema) if "properties" in schema else {**schema, "properties": {}}


def _hinted(annotations: Any) -> Effect:
    if isinstance(annotations, Mapping):
        if annotations.get("readOnlyHint") is True:
            return "read"
        if annotations.get("destructiveHint") is True:
            return "irreversible"
    return "write"


def _ours(meta: Any) -> dict[str, Any]:
    """Scopes and comparators of a tool that is served by this package."""
    mine = meta.get(META) if isinstance(meta, Mapping) else None
    if not isinstance(mine, Mapping):
        return {}
    found = {key: mine[key] for key in ("scopes", "comparators") if key in mine}
    try:
        for rule in dict(found.get("comparators", {})).values():
            comparator(rule)
    except (TypeError, ValueError) as error:
        raise ValueError(f"_meta: comparators: {error}") from None
    return found
