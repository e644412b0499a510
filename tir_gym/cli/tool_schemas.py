"""Would an OpenAI-style endpoint accept this tool? The structural rules that such validators enforce.

They are those of OpenAI's function calling and of the servers that imitate it: a plain name, an object at the top,
every argument typed, arrays with `items`, `required` a part of `properties`, references that lead somewhere. A tool
that breaks one is refused with an HTTP 400 in the middle of somebody's evaluation, so it is found here instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_NOT_AT_THE_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")
_LONGEST_DESCRIPTION = 1024
_DEEPEST = 32
"""Levels; what is deeper is a schema that refers to itself."""

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def schema_faults(tool: Mapping[str, Any]) -> list[str]:
    """What such a validator would refuse; an empty list when the tool is fine.

    Args:
        tool: An entry of OpenAI's `tools` parameter, as `ToolSpec.to_openai` gives it.
    """
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):
        return ["an entry of `tools` is {'type': 'function', 'function': {...}}"]
    return list(_function_faults(function))


def _function_faults(function: Mapping[str, Any]) -> Iterator[str]:
    name, description, parameters = (function.get(key) for key in ("name", "description", "parameters"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield f"the name {name!r} must be 1 to 64 of the characters a-z, A-Z, 0-9, _ and -"
    if not isinstance(description, str) or not description.strip():
        yield "it has no description"
    elif len(description) > _LONGEST_DESCRIPTION:
        yield f"its description has {len(description)} characters; at most {_LONGEST_DESCRIPTION} are taken"
    if not isinstance(parameters, Mapping):
        yield f"its parameters must be a JSON Schema object, got {type(parameters).__name__}"
        return
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield f"its parameters are no JSON: {error}"
        return
    if parameters.get("type") != "object":
        yield f"its parameters must have type 'object' at the top, got {parameters.get('type')!r}"
    for key in _NOT_AT_THE_TOP:
        if key in parameters:
            yield f"its parameters must not have {key!r} at the top"
    yield from _node_faults(parameters, "parameters", parameters, 0)


def _node_faults(node: Any, path: str, root: Mapping[str, Any], depth: int) -> Iterator[str]:
    if isinstance(node, bool):  # `true` and `false` are schemas, but say no type
        yield f"{path}: has no type"
        return
    if not isinstance(node, Mapping):
        yield f"{path}: must be a schema object, got {type(node).__name__}"
        return
    if depth > _DEEPEST:
        yield f"{path}: nested more than {_DEEPEST} levels deep"
        return
    if "$ref" in node:
        found = _resolve(node["$ref"], root)
        if found is None:
            yield f"{path}: $ref {node['$ref']!r} leads nowhere in this schema"
        elif depth == _DEEPEST:
            yield f"{path}: $ref {node['$ref']!r} refers to itself without end"
        else:
            yield from _node_faults(found, path, root, depth + 1)
        return
    branches = [key for key in ("anyOf", "oneOf", "allOf") if key in node]
    kinds = _kinds(node)
    if not kinds and not branches and "enum" not in node and "const" not in node:
        yield f"{path}: has no type"
    for kind in kinds:
        if kind not in _TYPES:
            yield f"{path}: unknown type {kind!r}; JSON Schema has {', '.join(sorted(_TYPES))}"
    yield from _enum_faults(node, kinds, path)
    for key in branches:
        if not isinstance(node[key], list) or not node[key]:
            yield f"{path}: {key} must be a list of schemas"
            continue
        for i, branch in enumerate(node[key]):
            yield from _node_faults(branch, f"{path}.{key}[{i}]", root, depth + 1)
    if "array" in kinds:
        if "items" not in node:
            yield f"{path}: an array needs `items`"
        else:
            yield from _node_faults(node["items"], f"{path}[]", root, depth + 1)
    if "object" in kinds:
        yield from _object_faults(node, path, root, depth)


def _object_faults(node: Mapping[str, Any], path: str, root: Mapping[str, Any], depth: int) -> Iterator[str]:
    properties, required = node.get("properties", {}), node.get("required", [])
    if not isinstance(properties, Mapping):
        yield f"{path}: `properties` must be an object"
        return
    for name, part in properties.items():
        yield from _node_faults(part, f"{path}.{name}", root, depth + 1)
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        yield f"{path}: `required` must be a list of names"
    else:
        for name in required:
            if name not in properties:
                yield f"{path}: `required` names {name!r}, which is not among its properties"
    extra = node.get("additionalProperties")
    if isinstance(extra, Mapping) and extra:
        yield from _node_faults(extra, f"{path}.*", root, depth + 1)


def _enum_faults(node: Mapping[str, Any], kinds: list[Any], path: str) -> Iterator[str]:
    if "enum" not in node:
        return
    values = node["enum"]
    if not isinstance(values, list) or not values:
        yield f"{path}: `enum` must be a list with at least one value"
    elif kinds and all(kind in _TYPES for kind in kinds):
        for value in values:
            if not any(_is_a(value, kind) for kind in kinds):
                yield f"{path}: enum value {value!r} is no {' or '.join(kinds)}"


def _kinds(node: Mapping[str, Any]) -> list[Any]:
    kind = node.get("type")
    return list(kind) if isinstance(kind, list) else [] if kind is None else [kind]


def _is_a(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON_TYPES[kind])


def _resolve(ref: Any, root: Mapping[str, Any]) -> Any:
    """What a reference inside the schema (`#/$defs/Name`) points at; `None` where it points nowhere or elsewhere."""
    if not isinstance(ref, str) or not ref.startswith("#/"):
        return None
    node: Any = root
    for step in ref[2:].split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or step not in node:
            return None
        node = node[step]
    return node
