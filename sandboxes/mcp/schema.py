"""Checking values against a JSON Schema that a stranger wrote: no network, no endless pattern, a bounded effort.

What cannot be checked within those bounds is left for the server to check. Nothing here judges what a schema means.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import islice
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import SchemaError
from jsonschema.validators import extend, validator_for
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from referencing import Registry

MAX_SCHEMA = 256 * 1024
"""Bytes of JSON in one schema; the largest of 1,151 tools of real servers has 2,021."""
MAX_DEPTH = 64
MAX_STEPS = 20_000
"""Keywords applied in one check; a schema that refers to itself twice on each level would need 2**depth."""
MAX_FAULTS = 8

_DATA = frozenset({"const", "default", "enum", "example", "examples"})
_MAPS = frozenset({"$defs", "definitions", "dependentSchemas", "properties"})
# Dropped before checking: these would make the library match property names against patterns of the schema's with
# Python's backtracking engine, or follow what `$schema` says to a dialect in which nothing is bounded.
_LEFT_TO_THE_SERVER = frozenset({"$schema", "patternProperties", "unevaluatedItems", "unevaluatedProperties"})


class SchemaCheck:
    """A compiled schema.

    Args:
        schema: The schema.

    Raises:
        ValueError: It is no valid schema, or one that cannot be used; the text says why.
    """

    def __init__(self, schema: Any) -> None:
        if not isinstance(schema, Mapping):
            raise ValueError(f"is {short(schema)}, not an object")
        try:
            self.size = len(json.dumps(schema))
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"is no JSON: {error}") from None
        if self.size > MAX_SCHEMA:
            raise ValueError(f"has {self.size} bytes of JSON; at most {MAX_SCHEMA} are read")
        if _depth(schema) > MAX_DEPTH:
            raise ValueError(f"is nested more than {MAX_DEPTH} levels deep")
        dialect = validator_for(schema, default=Draft202012Validator)
        try:
            dialect.check_schema(schema)
        except SchemaError as error:
            where = "/".join(str(step) for step in error.absolute_path)
            raise ValueError(f"is not valid{f' at {where}' if where else ''}: {error.message[:200]}") from None
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        _check_references(schema)
        self._validator = _bounded(dialect)(_checkable(schema), registry=Registry())
        self._names = tuple(schema.get("properties") or ())

    def faults(self, value: Any) -> list[str]:
        """What is wrong with the value, one sentence each, at most `MAX_FAULTS`; empty if nothing is."""
        found: list[str] = []
        _steps.left = MAX_STEPS
        try:
            for error in islice(self._validator.iter_errors(value), MAX_FAULTS):
                found += [text for text in self._sentences(error) if text not in found]
        except Exception:
            # Out of steps, a reference in a circle, a number beyond all floats: the server knows what it meant.
            return found[:MAX_FAULTS]
        return found[:MAX_FAULTS]

    def _sentences(self, error: ValidationError) -> Iterator[str]:
        path = ".".join(str(step) for step in error.absolute_path)
        inside = f"{path}." if path else ""
        keyword, wanted, value = error.validator, error.validator_value, error.instance
        if keyword == "required" and isinstance(wanted, list):
            yield from (f"argument `{inside}{name}` is required" for name in wanted if name not in value)
            return
        if keyword == "additionalProperties" and wanted is False:
            known = error.schema.get("properties") or {}
            names = ", ".join(f"`{name}`" for name in known) or "none"
            for name in value:
                if name not in known:
                    yield f"unknown argument `{inside}{short(name)[1:-1]}`; the arguments are: {names}"
            return
        if keyword == "type":
            expected = f"expected {' or '.join([wanted] if isinstance(wanted, str) else map(str, wanted))}"
        elif keyword == "enum":
            expected = f"expected one of {short(wanted, 200)}"
        elif keyword == "pattern":
            expected = f"expected text that matches {short(wanted)}"
        elif keyword in ("anyOf", "oneOf", "not"):
            expected = f"it fits no form that the schema allows ({keyword})"
        else:
            expected = f"expected {keyword} {short(wanted)}"
        yield f"argument `{path}`: {expected}, got {short(value)}" if path else f"{expected}, got {short(value)}"


class _Spent(Exception):
    pass


_steps = threading.local()


def _spend() -> None:
    _steps.left -= 1
    if _steps.left < 0:
        raise _Spent


@cache
def _bounded(dialect: Any) -> Any:
    """The dialect with every keyword counted and patterns matched in linear time."""

    def counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            _spend()
            return keyword(validator, value, instance, schema)

        return check

    keywords = {name: counted(keyword) for name, keyword in dialect.VALIDATORS.items()}
    return extend(dialect, {**keywords, "pattern": counted(_pattern)})


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _matches(pattern: str, text: str) -> bool:
    matcher = _matcher(pattern)
    return matcher is None or matcher.isinstance_python(text)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except PatternError:
        return None  # look-around and back references have no linear-time engine


def _matcher(pattern: str) -> SchemaValidator | None:
    return _compiled(pattern) if len(pattern) <= 1000 else None


def _checkable(node: Any, is_map: bool = False) -> Any:
    """The schema without the keywords that are left to the server."""
    if isinstance(node, list):
        return [_checkable(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    if is_map:
        return {name: _checkable(child) for name, child in node.items()}
    # Which properties are additional depends on the patterns.
    dropped = _LEFT_TO_THE_SERVER | ({"additionalProperties"} if "patternProperties" in node else set())
    return {
        key: child if key in _DATA else _checkable(child, is_map=key in _MAPS)
        for key, child in node.items()
        if key not in dropped
    }


def _check_references(schema: Mapping[str, Any]) -> None:
    anchors = {f"#{name}" for name in _values(schema, "$anchor", "$dynamicAnchor")}
    base = schema.get("$id", "")
    for reference in _values(schema, "$ref", "$dynamicRef"):
        local = reference.removeprefix(base) if isinstance(base, str) else reference
        if not local.startswith("#"):
            raise ValueError(f"refers to {short(reference)}, which is outside of it")
        if local not in anchors and not _points(schema, local[1:]):
            raise ValueError(f"refers to {short(reference)}, which is not in it")


def _values(node: Any, *keys: str) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _values(item, *keys)
    elif isinstance(node, Mapping):
        for key, child in node.items():
            if key in keys and isinstance(child, str):
                yield child
            elif key not in _DATA:
                yield from _values(child, *keys)


def _points(node: Any, pointer: str) -> bool:
    for step in pointer.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            return False
    return not pointer or pointer.startswith("/")


def _depth(node: Any) -> int:
    deepest, level = 0, [node]
    while level:
        deepest += 1
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, Mapping) else item)
            if isinstance(child, (Mapping, list))
        ]
    return deepest


def short(value: Any, limit: int = 80) -> str:
    """The value for a message, cut."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."
