"""Tools: a typed Python function becomes a name, a schema, a validator and a call.

    @tool(effect="write")
    def AddAlarm(world: World, time: TimeOfDay) -> dict[str, str]:
        '''Set an alarm.

        Args:
            time: When it rings.
        '''

Parameters annotated with a subclass of `Injected` (the sandbox's state, as a rule) are given by the sandbox and
hidden from the agent. Everything else is validated by pydantic before the function runs; what is wrong is said in
words that a language model can act on. A tool refuses by raising `ToolError`; anything else that escapes it is a bug,
unless declared with `raises=`.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, overload

import pydantic
from pydantic_core import ErrorDetails

from tir_gym.docstring import parse_docstring
from tir_gym.errors import InvalidArguments, UnknownTool, UsageError
from tir_gym.records import Effect, ToolSpec


class Injected:
    """Marks a class whose instances a sandbox hands to tools; such parameters are no part of the schema."""


class Tool:
    """A function with its `spec`. Call it like the function; `run` is what a sandbox uses.

    Args:
        function: Typed function with a Google-style docstring.
        effect: `read`, `write` or `irreversible`.
        scopes: Parts of the world that it touches.
        raises: Exception types that are refusals, besides `ToolError`: their text goes to the agent.
        comparators: How gold values are compared, by argument name (see `compare.py`).
        name: Name for the agent; the function's own by default.

    Raises:
        UsageError: A parameter lacks a type, is variadic, has a name that pydantic keeps, or a comparator names no
            parameter.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        effect: Effect = "read",
        scopes: Iterable[str] = (),
        raises: tuple[type[Exception], ...] = (),
        comparators: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        self.function = function
        self.raises = raises
        self.__doc__ = function.__doc__
        self.__name__ = name or function.__name__
        arguments, self._injected = _read_signature(function)
        with warnings.catch_warnings():
            # An argument may well be named `json` or `copy`, whatever methods of models those shadow.
            warnings.filterwarnings("ignore", 'Field name ".*" in ".*" shadows an attribute', UserWarning)
            model = pydantic.create_model(self.__name__, __config__=pydantic.ConfigDict(extra="forbid"), **arguments)
        self._validator = model.__pydantic_validator__
        self._fields = tuple(arguments)
        self._formats = {
            field: schema["format_hint"]
            for field, schema in model.model_json_schema()["properties"].items()
            if "format_hint" in schema
        }
        unknown = set(comparators or ()) - set(arguments)
        if unknown:
            raise UsageError(f"tool {self.__name__}: comparators for {sorted(unknown)}, which are no arguments of it")
        self.spec = ToolSpec(
            name=self.__name__,
            description=parse_docstring(function.__doc__).summary,
            parameters=_openai_schema(model),
            effect=effect,
            scopes=tuple(scopes),
            comparators=dict(comparators or {}),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.__name__})"

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as Python values, only those that were given.

        Raises:
            InvalidArguments: With one sentence per fault.
        """
        try:
            fields: dict[str, Any] = self._validator.validate_python(arguments).__dict__
        except pydantic.ValidationError as error:
            raise InvalidArguments(self._explain(error.errors(include_url=False))) from None
        except RecursionError:
            raise InvalidArguments("the arguments are nested too deeply; send a flat object") from None
        return {field: fields[field] for field in arguments}

    def run(self, arguments: Mapping[str, Any], injected: Mapping[type, Any]) -> Any:
        """Validate and call.

        Args:
            arguments: From the agent.
            injected: Instance to hand over for each `Injected` class.

        Raises:
            InvalidArguments: The arguments do not fit.
            ToolError: The tool refuses.
        """
        values = self.validate(arguments)
        for parameter, kind in self._injected:
            values[parameter] = injected[kind]
        return self.function(**values)

    def _explain(self, errors: list[ErrorDetails]) -> str:
        return "; ".join(_sentence(error, self._fields, self._formats) for error in errors[:8])


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    effect: Effect = "read",
    scopes: Iterable[str] = (),
    raises: tuple[type[Exception], ...] = (),
    comparators: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a `Tool` of a function, plain (`@tool`) or with options (`@tool(effect="write")`). See `Tool`."""
    if function is not None:
        return Tool(function)
    return lambda f: Tool(f, **options)


class Toolkit(Mapping[str, Tool]):
    """Tools by name, in the order given."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for item in tools:
            if item.spec.name in self._tools:
                raise UsageError(f"two tools named {item.spec.name!r} in one toolkit; rename one with @tool(name=...)")
            self._tools[item.spec.name] = item
        self.specs = tuple(item.spec for item in self._tools.values())

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def find(self, name: str) -> Tool:
        """The tool of that name.

        Raises:
            UnknownTool: With the nearest names.
        """
        found = self._tools.get(name)
        if found is None:
            raise UnknownTool(_no_such_tool(name, self._tools))
        return found


def _no_such_tool(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name[:64], known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the tools are: {', '.join(known[:40])}"
    return f"there is no tool named {_short(name)}; {hint}"


def _read_signature(function: Callable[..., Any]) -> tuple[dict[str, Any], list[tuple[str, type]]]:
    """Fields for a pydantic model of the visible parameters, and the hidden ones with their classes."""
    described = parse_docstring(function.__doc__).arguments
    hints = inspect.get_annotations(function, eval_str=True)
    fields: dict[str, Any] = {}
    injected: list[tuple[str, type]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise UsageError(f"tool {function.__name__}: parameter {name!r} must be an ordinary or keyword parameter")
        if name.startswith("_") or name == "model_config":
            raise UsageError(f"tool {function.__name__}: parameter {name!r} has a name that pydantic keeps; rename it")
        if name not in hints:
            raise UsageError(f"tool {function.__name__}: parameter {name!r} needs a type annotation")
        hint = hints[name]
        if inspect.isclass(hint) and issubclass(hint, Injected):
            injected.append((name, hint))
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hint, pydantic.Field(default, description=described.get(name)))
    return fields, injected


def _openai_schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The model's JSON Schema in the form that OpenAI-style validators take: references inlined, titles dropped."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    clean: dict[str, Any] = _inline(schema, definitions, ())
    clean.pop("description", None)
    clean.setdefault("properties", {})
    return clean


def _inline(
    node: Any, definitions: Mapping[str, Any], open_refs: tuple[str, ...], is_property_map: bool = False
) -> Any:
    if isinstance(node, list):
        return [_inline(item, definitions, open_refs) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node and not is_property_map:
        name = node["$ref"].rsplit("/", 1)[-1]
        if name in open_refs:
            raise UsageError(f"model {name} refers to itself; tool arguments must be finite trees")
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**definitions[name], **rest}, definitions, (*open_refs, name))
    clean = {
        key: _inline(value, definitions, open_refs, is_property_map=not is_property_map and key == "properties")
        for key, value in node.items()
        if is_property_map or key not in ("title", "format_hint")
    }
    if "format_hint" in node and not is_property_map:
        clean["description"] = f"{clean.get('description', '')} Format: {node['format_hint']}.".lstrip()
    return clean


def _sentence(error: ErrorDetails, fields: tuple[str, ...], formats: Mapping[str, str]) -> str:
    path = ".".join(str(step) for step in error["loc"])
    kind = error["type"]
    if kind == "missing":
        return f"argument `{path}` is required"
    if kind == "extra_forbidden":
        known = ", ".join(f"`{field}`" for field in fields) or "none"
        return f"unknown argument `{path}`; the arguments are: {known}"
    if kind == "value_error":
        expected = str(error.get("ctx", {}).get("error", error["msg"]))
    elif kind == "literal_error" or kind == "enum":
        expected = f"expected {error.get('ctx', {}).get('expected', 'one of the listed values')}"
    else:
        head, _, tail = error["msg"].partition("Input should be ")
        expected = f"expected {tail.split(',')[0]}" if tail else head
    top = str(error["loc"][0]) if error["loc"] else ""
    if top in formats and kind != "value_error":
        expected = f"expected {formats[top]}"
    return f"argument `{path}`: {expected}, got {_short(error['input'])}"


def _short(value: Any, limit: int = 80) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= limit else text[: limit - 3] + "..."
