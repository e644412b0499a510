"""Values that fit a JSON Schema, drawn at random: what it takes to call a tool without knowing what it is for.

Covers what tool schemas are made of: the seven types, `enum`, `const`, `anyOf`, `oneOf`, nested objects and arrays,
bounds of numbers, lengths, `format`, and the formats that this package's own schemas name in words
("Format: YYYY-MM-DD."). A `pattern` is checked by `fits` but not drawn from.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tir_gym.compare import json_equal

Schema = Mapping[str, Any]

_WORDS = (
    "apple",
    "blue",
    "call",
    "dinner",
    "early",
    "friend",
    "garden",
    "house",
    "letter",
    "meeting",
    "report",
    "team",
)
_HINT = re.compile(r"Format: (.+?)\.(?:\s|$)")


class Sampler:
    """Draws values.

    Args:
        rng: Where the randomness comes from.
        reuse: Probability of taking a value already seen, where one fits.
    """

    def __init__(self, rng: random.Random, *, reuse: float = 0.0) -> None:
        self._rng = rng
        self._reuse = reuse

    def arguments(self, schema: Schema, seen: Iterable[Any] = (), *, optional: float = 0.5) -> dict[str, Any]:
        """Arguments for a tool.

        Args:
            schema: Its `parameters`.
            seen: Values to reuse.
            optional: Probability of giving an argument that may be left out.
        """
        required = schema.get("required", ())
        return {
            name: self.value(part, seen)
            for name, part in schema.get("properties", {}).items()
            if name in required or self._rng.random() < optional
        }

    def value(self, schema: Schema, seen: Iterable[Any] = ()) -> Any:
        """A value that fits the schema."""
        if self._rng.random() < self._reuse:
            fitting = [value for value in seen if fits(schema, value)]
            if fitting:
                return self._rng.choice(fitting)
        return self._draw(schema, seen)

    def other_value(self, schema: Schema, wrong: Callable[[Any], bool], seen: Iterable[Any] = ()) -> Any:
        """A value that fits the schema and is `wrong`, or one that does not fit where every fitting one is right.

        Args:
            schema: What it should fit.
            wrong: Whether a value will do.
            seen: Values to reuse.
        """
        seen = list(seen)
        for _ in range(50):
            value = self.value(schema, seen)
            if wrong(value):
                return value
        return "something else" if wrong("something else") else -1

    def _draw(self, schema: Schema, seen: Iterable[Any]) -> Any:
        rng = self._rng
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return rng.choice(list(schema["enum"]))
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                # A union's description may hold the format of its members.
                outer = {"description": schema["description"]} if "description" in schema else {}
                return self._draw({**outer, **rng.choice(list(schema[union]))}, seen)
        kind = schema.get("type", "string")
        kind = rng.choice(list(kind)) if isinstance(kind, (list, tuple)) else kind
        if kind == "object":
            return self._object(schema, seen)
        if kind == "array":
            return self._array(schema, seen)
        if kind == "integer":
            low, high = _bounds(schema, step=1)
            step = int(schema.get("multipleOf", 1))
            return rng.randint(math.ceil(low / step), math.floor(high / step)) * step
        if kind == "number":
            low, high = _bounds(schema, step=0.5)
            step = schema.get("multipleOf", 0.5)
            return rng.randint(math.ceil(low / step), math.floor(high / step)) * step
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "null":
            return None
        return self._text(schema)

    def _object(self, schema: Schema, seen: Iterable[Any]) -> dict[str, Any]:
        if schema.get("properties"):
            return self.arguments(schema, seen)
        values = schema.get("additionalProperties")
        if not isinstance(values, Mapping):
            return {}
        keys = self._rng.sample(_WORDS, self._rng.randint(0, 2))
        return {key: self.value(values, seen) for key in keys}

    def _array(self, schema: Schema, seen: Iterable[Any]) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(part, seen) for part in schema["prefixItems"]]
        least = schema.get("minItems", 0)
        items: list[Any] = []
        for _ in range(self._rng.randint(least, max(least, min(schema.get("maxItems", 3), least + 3)))):
            value = self.value(schema.get("items") or {}, seen)
            if not schema.get("uniqueItems") or not any(json_equal(value, item) for item in items):
                items.append(value)
        return items

    def _text(self, schema: Schema) -> str:
        draw = _FORMATS.get(_format_of(schema))
        if draw is not None:
            return draw[1](self._rng)
        text = " ".join(self._rng.choice(_WORDS) for _ in range(self._rng.randint(1, 3)))
        while len(text) < schema.get("minLength", 0):
            text += self._rng.choice(string.ascii_lowercase)
        return text[: schema["maxLength"]] if "maxLength" in schema else text


def fits(schema: Schema, value: Any) -> bool:
    """Whether the value fits the schema, as far as tool schemas go."""
    if "const" in schema:
        return json_equal(value, schema["const"])
    if "enum" in schema:
        return any(json_equal(value, item) for item in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            return any(fits(part, value) for part in schema[union])
    kinds = schema.get("type", _TYPES)
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return any(kind in _TYPES and _TYPES[kind](schema, value) for kind in kinds)


def _fits_text(schema: Schema, value: Any) -> bool:
    if not isinstance(value, str):
        return False
    form = _FORMATS.get(_format_of(schema))
    if form is not None and not form[0].fullmatch(value):
        return False
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf))


def _fits_number(schema: Schema, value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return False
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    whole_steps = "multipleOf" not in schema or value % schema["multipleOf"] == 0
    return bool(low <= value <= high and above < value < below and whole_steps)


def _fits_integer(schema: Schema, value: Any) -> bool:
    return _fits_number(schema, value) and float(value).is_integer()


def _fits_array(schema: Schema, value: Any) -> bool:
    if not isinstance(value, (list, tuple)):
        return False
    sized = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
    return sized and all(fits(schema.get("items") or {}, item) for item in value)


def _fits_object(schema: Schema, value: Any) -> bool:
    if not isinstance(value, Mapping) or not set(schema.get("required", ())) <= set(value):
        return False
    properties = schema.get("properties", {})
    return all(fits(properties[name], item) for name, item in value.items() if name in properties)


_TYPES: dict[str, Callable[[Schema, Any], bool]] = {
    "string": _fits_text,
    "number": _fits_number,
    "integer": _fits_integer,
    "boolean": lambda _, value: isinstance(value, bool),
    "null": lambda _, value: value is None,
    "array": _fits_array,
    "object": _fits_object,
}


def _bounds(schema: Schema, step: float) -> tuple[float, float]:
    """The closed interval to draw a number from: the schema's, a hundred wide where it has an open end."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    return low, low + 100 if high is None else high


def _format_of(schema: Schema) -> str:
    """Name of the format of a text, or an empty string."""
    hint = _HINT.search(schema.get("description", ""))
    return hint[1] if hint else str(schema.get("format", ""))


def _moment(form: str) -> Callable[[random.Random], str]:
    def draw(rng: random.Random) -> str:
        moment = datetime(2025, 1, 1) + timedelta(minutes=15 * rng.randrange(365 * 96))
        return moment.strftime(form)

    return draw


def _digits(rng: random.Random, alphabet: str, *groups: int) -> str:
    return "-".join("".join(rng.choice(alphabet) for _ in range(size)) for size in groups)


_FORMATS: dict[str, tuple[re.Pattern[str], Callable[[random.Random], str]]] = {
    name: (re.compile(pattern, re.ASCII), draw)
    for name, pattern, draw in (
        ("YYYY-MM-DD HH:MM:SS", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", _moment("%Y-%m-%d %H:%M:%S")),
        ("YYYY-MM-DD", r"\d{4}-\d\d-\d\d", _moment("%Y-%m-%d")),
        ("HH:MM:SS", r"\d\d:\d\d:\d\d", _moment("%H:%M:%S")),
        ("date-time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*", _moment("%Y-%m-%dT%H:%M:%SZ")),
        ("date", r"\d{4}-\d\d-\d\d", _moment("%Y-%m-%d")),
        ("time", r"\d\d:\d\d:\d\d\S*", _moment("%H:%M:%SZ")),
        ("email", r"\S+@\S+\.\S+", lambda rng: f"{rng.choice(_WORDS)}@example.com"),
        ("uri", r"https?://\S+", lambda rng: f"https://example.com/{rng.choice(_WORDS)}"),
        ("uuid", r"[0-9a-f-]{36}", lambda rng: _digits(rng, "0123456789abcdef", 8, 4, 4, 4, 12)),
    )
}
