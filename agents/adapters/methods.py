"""Python functions made from the schemas of tools, for frameworks that read a tool's schema off a function.

What they read is the signature, the types and the docstring, so these say what the schema says: names, types, choices,
descriptions, what is required. What a type cannot say (a minimum, a pattern) is left out; the environment checks it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from tir_gym.errors import UsageError

Run: TypeAlias = Callable[[str, Mapping[str, Any]], str]
"""From a tool's name and arguments to what it gave back."""

_TYPES: Mapping[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict}


def typed_function(tool: Mapping[str, Any], run: Run) -> Callable[..., str]:
    """A function that makes a call.

    Args:
        tool: The `function` part of a tool in OpenAI's form.
        run: Is given the arguments that were passed. An optional one that has its default, which a framework may have
            filled in, counts as not passed.

    Raises:
        UsageError: A name is none in Python.
    """
    name = tool["name"]
    properties: Mapping[str, Any] = tool["parameters"].get("properties", {})
    required = tool["parameters"].get("required", [])
    bad = [word for word in (name, *properties) if not word.isidentifier() or word.startswith("_") or word == "self"]
    if bad:
        raise UsageError(f"tool {name!r} cannot be a Python function, {bad[0]!r} being no name there")
    defaults = {key: value.get("default") for key, value in properties.items() if key not in required}

    def call(**arguments: Any) -> str:
        passed = {key: value for key, value in arguments.items() if key not in defaults or value != defaults[key]}
        return run(name, passed)

    types = {key: _type(value) | None if key in defaults else _type(value) for key, value in properties.items()}
    call.__name__ = call.__qualname__ = name
    call.__doc__ = _docstring(tool, properties)
    call.__annotations__ = {**types, "return": str}
    parameters = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=_described(types[key], value),
            default=defaults.get(key, inspect.Parameter.empty),
        )
        for key, value in properties.items()
    ]
    call.__signature__ = inspect.Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    return call


def typed_method(tool: Mapping[str, Any], run: Callable[[Any, str, Mapping[str, Any]], str]) -> Callable[..., str]:
    """As `typed_function`, for the body of a class: `run` is given the object first."""
    like: Any = typed_function(tool, lambda name, arguments: "")

    def method(self: Any, **arguments: Any) -> str:
        return typed_function(tool, lambda name, passed: run(self, name, passed))(**arguments)

    for attribute in ("__name__", "__qualname__", "__doc__", "__annotations__"):
        setattr(method, attribute, getattr(like, attribute))
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature: inspect.Signature = like.__signature__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *signature.parameters.values()]
    )
    return method


def _type(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if schema.get("type") == "array":
        return list[_type(schema["items"])] if "items" in schema else list  # type: ignore[misc]
    return _TYPES.get(str(schema.get("type")), Any)


def _described(type: Any, schema: Mapping[str, Any]) -> Any:
    text = schema.get("description")
    return Annotated[type, Field(description=_one_line(text))] if text else type


def _docstring(tool: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    # A reader of docstrings wants a word about each argument, so one without a description is told by its name.
    lines = [f"    {key}: {_one_line(value.get('description') or key)}" for key, value in properties.items()]
    text = _one_line(tool.get("description") or tool["name"])
    return "\n".join([text, "", "Args:", *lines]) if lines else text


def _one_line(text: str) -> str:
    return " ".join(text.split())
