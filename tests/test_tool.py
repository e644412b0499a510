"""From a typed function to a schema and a validator whose messages an agent can act on."""

from __future__ import annotations

import enum
import warnings
from typing import Any, Literal

import pydantic
import pytest

from tir_gym import ToolCall, ToolError, Toolkit, ToolSpec, tool
from tir_gym.docstring import parse_docstring
from tir_gym.errors import InvalidArguments, UnknownTool, UsageError
from tir_gym.tool import Injected, Tool
from tir_gym.types import Date, DateTime, TimeOfDay


class World(Injected):
    pass


class Place(pydantic.BaseModel):
    """Where it is."""

    city: str
    zip: int | None = pydantic.Field(None, description="Postal code.")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@tool(effect="write", scopes=["reminders"], comparators={"due_date": "day"})
def add_reminder(
    world: World,
    task: str,
    due_date: DateTime,
    kind: Literal["once", "daily"] = "once",
    place: Place | None = None,
    tags: list[str] | None = None,
    colour: Colour = Colour.RED,
    priority: int = 3,
) -> dict[str, Any]:
    """Add a reminder.

    It rings when it is due,
    unless completed.

    Args:
        task: What to do.
        due_date: When it
            is due.
        priority (int): From 1 to 5.

    Returns:
        The new reminder.
    """
    return {"task": task, "due": due_date, "place": place, "world": world, "colour": colour}


HERE = {World: World()}


def test_schema_in_openai_form() -> None:
    entry = add_reminder.spec.to_openai()
    assert entry["type"] == "function"
    assert entry["function"]["name"] == "add_reminder"
    assert entry["function"]["description"] == "Add a reminder.\n\nIt rings when it is due, unless completed."
    schema = entry["function"]["parameters"]
    assert schema["type"] == "object"
    assert schema["required"] == ["task", "due_date"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert list(properties) == ["task", "due_date", "kind", "place", "tags", "colour", "priority"]
    assert properties["task"] == {"type": "string", "description": "What to do."}
    assert properties["due_date"]["description"] == "When it is due. Format: YYYY-MM-DD HH:MM:SS."
    assert properties["kind"]["enum"] == ["once", "daily"]
    assert properties["kind"]["default"] == "once"
    assert properties["priority"] == {"type": "integer", "default": 3, "description": "From 1 to 5."}
    assert properties["colour"]["enum"] == ["red", "blue"]
    place = properties["place"]["anyOf"][0]
    assert place["properties"]["zip"]["description"] == "Postal code."
    assert place["required"] == ["city"]
    assert "$ref" not in str(schema)
    assert "$defs" not in str(schema)


def test_a_spec_goes_to_openai_and_back() -> None:
    spec = add_reminder.spec
    again = ToolSpec.from_openai(spec.to_openai(), effect="write")
    assert again.to_openai() == spec.to_openai()
    assert ToolSpec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(pydantic.ValidationError):
        ToolSpec.from_openai({"function": {"description": "nameless"}})


def test_a_valid_call_reaches_the_function_with_python_values() -> None:
    result = add_reminder.run(
        {"task": "t", "due_date": "2025-01-06 09:00:00", "place": {"city": "Bern"}, "colour": "blue"}, HERE
    )
    assert result["place"] == Place(city="Bern")
    assert result["colour"] is Colour.BLUE
    assert result["world"] is HERE[World]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"task": "t", "due_date": "tomorrow"},
            "argument `due_date`: expected YYYY-MM-DD HH:MM:SS, got 'tomorrow'",
        ),
        (
            {"task": "t", "due_date": "2025-02-30 09:00:00"},
            "argument `due_date`: expected YYYY-MM-DD HH:MM:SS, got '2025-02-30 09:00:00'",
        ),
        ({"task": "t", "due_date": 5}, "argument `due_date`: expected YYYY-MM-DD HH:MM:SS, got 5"),
        ({"due_date": "2025-01-06 09:00:00"}, "argument `task` is required"),
        (
            {"task": "t", "due_date": "2025-01-06 09:00:00", "kind": "weekly"},
            "argument `kind`: expected 'once' or 'daily', got 'weekly'",
        ),
        (
            {"task": "t", "due_date": "2025-01-06 09:00:00", "priority": "high"},
            "argument `priority`: expected a valid integer, got 'high'",
        ),
        (
            {"task": "t", "due_date": "2025-01-06 09:00:00", "place": {"zip": 1}},
            "argument `place.city` is required",
        ),
    ],
)
def test_messages_that_an_agent_can_act_on(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArguments) as caught:
        add_reminder.run(arguments, HERE)
    assert str(caught.value) == message


def test_an_unknown_argument_lists_the_known_ones_and_the_hidden_stays_hidden() -> None:
    with pytest.raises(InvalidArguments, match="unknown argument `world`; the arguments are: `task`, `due_date`"):
        add_reminder.run({"task": "t", "due_date": "2025-01-06 09:00:00", "world": 1}, HERE)


def test_long_and_deep_values_are_cut_in_messages() -> None:
    with pytest.raises(InvalidArguments) as caught:
        add_reminder.run({"task": "t", "due_date": "x" * 10_000}, HERE)
    assert len(str(caught.value)) < 200
    deep: Any = {}
    for _ in range(100_000):
        deep = {"city": deep}
    with pytest.raises(InvalidArguments):
        add_reminder.run({"task": "t", "due_date": "2025-01-06 09:00:00", "place": deep}, HERE)


def test_only_given_arguments_are_passed() -> None:
    @tool
    def f(a: int = 1, b: int | None = None) -> tuple[int, int | None]:
        """F."""
        return a, b

    assert f.validate({}) == {}
    assert f.run({"b": 2}, {}) == (1, 2)


def test_a_tool_without_arguments() -> None:
    @tool
    def ping() -> str:
        """Ping."""
        return "pong"

    assert ping.spec.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert ping.run({}, {}) == "pong"
    with pytest.raises(InvalidArguments, match="the arguments are: none"):
        ping.run({"x": 1}, {})


def test_misuse_is_told_when_the_tool_is_made() -> None:
    def untyped(x) -> None:  # type: ignore[no-untyped-def]
        """X."""

    def variadic(*xs: int) -> None:
        """X."""

    with pytest.raises(UsageError, match="'x' needs a type"):
        tool(untyped)
    with pytest.raises(UsageError, match="'xs' must be an ordinary"):
        tool(variadic)
    with pytest.raises(UsageError, match="comparators for \\['y'\\]"):

        @tool(comparators={"y": "exact"})
        def f(x: int) -> None:
            """F."""

    with pytest.raises(UsageError, match="two tools named"):
        Toolkit([add_reminder, add_reminder])


@pytest.mark.parametrize("name", ["json", "copy", "schema", "model_fields", "self", "cls"])
def test_an_argument_may_have_the_name_of_what_pydantic_models_have(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = Tool(function_with(name))
    assert made.run({name: "v"}, {}) == "v"


@pytest.mark.parametrize("name", ["_hidden", "model_config"])
def test_an_argument_that_pydantic_cannot_have_is_told(name: str) -> None:
    with pytest.raises(UsageError, match=f"parameter '{name}' has a name that pydantic keeps"):
        Tool(function_with(name))


def function_with(parameter: str) -> Any:
    """A function of one argument of that name, which it gives back."""
    made: dict[str, Any] = {}
    exec(f"def echo({parameter}: str) -> str:\n    return {parameter}", made)
    return made["echo"]


def test_a_model_that_refers_to_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="refers to itself"):
        tool(_takes_tree)


class Tree(pydantic.BaseModel):
    children: list[Tree] = []


def _takes_tree(tree: Tree) -> None:
    """Take a tree."""


def test_toolkit_finds_or_suggests() -> None:
    kit = Toolkit([add_reminder])
    assert kit.find("add_reminder") is kit["add_reminder"]
    with pytest.raises(UnknownTool, match="did you mean add_reminder"):
        kit.find("addreminder")
    with pytest.raises(UnknownTool, match="the tools are: add_reminder"):
        kit.find("zzz")
    assert issubclass(UnknownTool, ToolError)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (
            DateTime,
            ["2024-02-29 23:59:59"],
            ["2023-02-29 00:00:00", "2024-01-01", "2024-01-01T00:00:00", "٢٠٢٤-01-01 00:00:00"],
        ),
        (Date, ["2024-02-29"], ["2024-2-9", "2024-13-01", ""]),
        (TimeOfDay, ["00:00:00", "23:59:59"], ["24:00:00", "7:30:00", "07:30", "07:60:00"]),
    ],
)
def test_formats(kind: Any, right: list[str], wrong: list[str]) -> None:
    adapter = pydantic.TypeAdapter(kind)
    for value in right:
        assert adapter.validate_python(value) == value
    for value in wrong:
        with pytest.raises(pydantic.ValidationError, match="expected"):
            adapter.validate_python(value)


def test_docstring_sections() -> None:
    doc = parse_docstring(
        """Do it.

        More.

        Args:
            a: First, see
                below: here.
            *rest: Others.

        Example:
            a: not an argument
        """
    )
    assert doc.summary == "Do it.\n\nMore."
    assert doc.arguments == {"a": "First, see below: here.", "rest": "Others."}
    assert parse_docstring(None).summary == ""


def test_tool_call_takes_its_parts_by_position_or_name() -> None:
    assert ToolCall("f", {"x": 1}) == ToolCall(name="f", arguments={"x": 1})
    assert ToolCall.model_validate_json(ToolCall("f", {"x": 1}, "id").model_dump_json()) == ToolCall(
        "f", {"x": 1}, "id"
    )
    with pytest.raises(pydantic.ValidationError):
        ToolCall("f", [1])  # type: ignore[arg-type]
