"""Specifications of strangers: what is read of them, what is refused and why, and what checking them may cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")

from tir_gym.errors import UsageError
from tir_gym.records import ToolSpec
from tir_gym.sandboxes.mcp import Listing, RefusedTool, read_tools
from tir_gym.sandboxes.mcp.schema import SchemaCheck

OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def entry(**fields: Any) -> dict[str, Any]:
    return {"name": "tool", "inputSchema": OBJECT, **fields}


def reason(fields: Any) -> str:
    listing = read_tools("srv", [fields])
    assert not listing.tools
    (refused,) = listing.refused
    assert refused.server == "srv"
    return refused.reason


# The published specifications of real servers.


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, tuple[list[dict[str, Any]], Listing]]:
    """By server: its tools, and what is read of them."""
    return {server: (tools, read_tools(server, tools)) for server, tools in toucan(shared).items()}


def toucan(shared: Path) -> dict[str, list[dict[str, Any]]]:
    """Tools by server, as on the wire: the data has `input_schema` where the protocol has `inputSchema`."""
    servers = {}
    for path in sorted((shared / "data/toucan_mcp_servers/mcp_servers").glob("*.json")):
        tools = json.loads(path.read_text(encoding="utf-8"))["metadata"]["remote_server_response"]["tools"]
        servers[path.stem] = [
            {("inputSchema" if key == "input_schema" else key): value for key, value in tool.items()} for tool in tools
        ]
    return servers


def test_every_published_tool_is_read_or_refused_for_a_reason(published: Any) -> None:
    refused = [one for _, listing in published.values() for one in listing.refused]
    accepted = [spec for _, listing in published.values() for spec in listing.specs]
    assert (len(published), len(accepted), len(refused)) == (424, 1134, 17)
    for tools, listing in published.values():
        names = [spec.name for spec in listing.specs] + [one.tool for one in listing.refused]
        assert sorted(names) == sorted(tool["name"] for tool in tools)
    for one in refused:
        assert str(one) == f"{one.server}: tool {one.tool}: {one.reason}"
        doubled = [tool["name"] for tool in published[one.server][0]].count(one.tool) > 1
        assert one.reason == (
            "name: listed twice; the first one is kept"
            if doubled
            else f"name: {one.tool!r} is not 1 to 64 letters, digits, '_', '-' and '.'"
        )


def test_accepted_specifications_say_what_the_server_says(published: Any) -> None:
    effects = []
    for tools, listing in published.values():
        by_name = {tool["name"]: tool for tool in reversed(tools)}
        for spec in listing.specs:
            tool = by_name[spec.name]
            assert spec.description == (tool["description"] or "")
            assert spec.parameters == {"properties": {}, **tool["inputSchema"]}
            assert ToolSpec.model_validate_json(spec.model_dump_json()) == spec
            effects.append(spec.effect)
    assert {effect: effects.count(effect) for effect in sorted(set(effects))} == {"read": 8, "write": 1126}


# One by one.


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (entry(name="two words"), "name: 'two words' is not 1 to 64"),
        (entry(name="x" * 65), "is not 1 to 64 letters"),
        (entry(name=""), "name: '' is not"),
        (entry(name=7), "name: 7 is no text"),
        (entry(name="ok\n"), "is not 1 to 64"),
        (entry(description=["no", "text"]), "description: ['no', 'text'] is no text"),
        (entry(inputSchema=None), "inputSchema: there is none"),
        (entry(inputSchema="object"), "inputSchema: is 'object', not an object"),
        (entry(inputSchema={"type": "string"}), "inputSchema: its type is 'string', not 'object'"),
        (entry(inputSchema={}), "inputSchema: its type is None, not 'object'"),
        (entry(inputSchema={"type": "object", "properties": []}), "inputSchema: is not valid at properties"),
        (entry(inputSchema={"type": "object", "required": "n"}), "inputSchema: is not valid at required"),
        (entry(inputSchema={"type": "object", "$ref": "file:///etc/passwd"}), "outside of it"),
        (entry(inputSchema={"type": "object", "$ref": "#/no"}), "refers to '#/no', which is not in it"),
        (entry(inputSchema={"type": "object", "description": "x" * 300_000}), "at most 262144 are read"),
        (entry(inputSchema={"type": "object", "default": {1, 2}}), "is no JSON"),
        (entry(outputSchema={"type": "whole"}), "outputSchema: is not valid at type"),
        (entry(_meta={"tir-gym": {"comparators": {"n": "nope"}}}), "comparators"),
        (entry(_meta={"tir-gym": {"scopes": 3}}), "scopes"),
        (["no object"], "the entry is ['no object'], not an object"),
        (None, "the entry is None, not an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_what_is_wrong(fields: Any, why: str) -> None:
    assert why in reason(fields)


def test_of_two_tools_of_one_name_the_first_is_kept() -> None:
    listing = read_tools("srv", [entry(description="one"), entry(description="two")])
    assert [spec.description for spec in listing.specs] == ["one"]
    assert listing.refused == (RefusedTool("srv", "tool", "name: listed twice; the first one is kept"),)


def test_schemas_without_end_are_cut_off() -> None:
    fat = {"type": "object", "description": "x" * 250_000}
    listing = read_tools("srv", [entry(name=f"t{i}", inputSchema=fat) for i in range(40)])
    assert len(listing.tools) == 17
    assert all("used up" in one.reason for one in listing.refused)


@pytest.mark.parametrize(
    ("annotations", "effect"),
    [
        (None, "write"),
        ({}, "write"),
        ({"readOnlyHint": True, "destructiveHint": True}, "read"),
        ({"readOnlyHint": False, "destructiveHint": True}, "irreversible"),
        ({"readOnlyHint": False, "destructiveHint": False}, "write"),
        ({"readOnlyHint": "yes"}, "write"),
        ("readOnly", "write"),
    ],
)
def test_effects_are_hinted_at(annotations: Any, effect: str) -> None:
    assert read_tools("srv", [entry(annotations=annotations)]).specs[0].effect == effect


def test_the_caller_knows_effects_better() -> None:
    tools = [entry(name="a", annotations={"readOnlyHint": True}), entry(name="b")]
    assert [spec.effect for spec in read_tools("srv", tools, effects="irreversible").specs] == ["irreversible"] * 2
    assert [spec.effect for spec in read_tools("srv", tools, effects={"b": "read"}).specs] == ["read", "read"]
    with pytest.raises(UsageError, match=r"no tools \['c'\]; it offers a, b"):
        read_tools("srv", tools, effects={"c": "read"})


# Checking values.


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, ["argument `n` is required"]),
        ({"n": "1"}, ["argument `n`: expected integer, got '1'"]),
        ({"n": 1, "m": 2}, ["unknown argument `m`; the arguments are: `n`"]),
        ({"n": True}, ["argument `n`: expected integer, got True"]),
        ({"n": 1}, []),
    ],
)
def test_faults_are_said_in_words(value: Any, says: list[str]) -> None:
    assert SchemaCheck(OBJECT).faults(value) == says


def test_faults_deep_inside_say_where() -> None:
    inner = {"type": "object", "properties": {"day": {"enum": ["mon", "tue"]}}, "required": ["day"]}
    check = SchemaCheck({"type": "object", "properties": {"days": {"type": "array", "items": inner}}})
    assert check.faults({"days": [{"day": "sun"}]}) == [
        "argument `days.0.day`: expected one of ['mon', 'tue'], got 'sun'"
    ]
    assert check.faults({"days": [{"day": "mon"}, {}]}) == ["argument `days.1.day` is required"]


def test_at_most_eight_faults() -> None:
    check = SchemaCheck({"type": "object", "required": [f"a{i}" for i in range(100)]})
    assert len(check.faults({})) == 8


def test_patterns_take_no_longer_than_their_text() -> None:
    evil = SchemaCheck({"type": "object", "properties": {"s": {"type": "string", "pattern": "^(a+)+$"}}})
    assert evil.faults({"s": "a" * 100_000 + "!"}) != []
    assert evil.faults({"s": "a" * 100_000}) == []


def test_what_cannot_be_checked_safely_is_left_to_the_server() -> None:
    behind = SchemaCheck({"type": "object", "properties": {"s": {"pattern": "^(?=a)(?=a+$)"}}})
    assert behind.faults({"s": "b"}) == []
    names = SchemaCheck({"type": "object", "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False})
    assert names.faults({"a" * 5000 + "!": 1}) == []
    nested = {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "^(a+)+$"}
    assert SchemaCheck({"type": "object", "properties": {"s": nested}}).faults({"s": "a" * 5000 + "!"}) != []


def test_references_in_circles_and_doubling_ones_end() -> None:
    circle = SchemaCheck(
        {"type": "object", "$defs": {"c": {"$ref": "#/$defs/c"}}, "properties": {"s": {"$ref": "#/$defs/c"}}}
    )
    assert circle.faults({"s": 1}) == []
    twice: dict[str, Any] = {"d0": {"type": "string"}}
    for i in range(1, 60):
        twice[f"d{i}"] = {"allOf": [{"$ref": f"#/$defs/d{i - 1}"}] * 2}
    laughs = SchemaCheck({"type": "object", "$defs": twice, "properties": {"s": {"$ref": "#/$defs/d59"}}})
    assert laughs.faults({"s": "x"}) == []


def test_a_schema_that_refers_to_itself_is_checked_all_the_way() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "n": {"type": "integer"}}}
    assert SchemaCheck(tree).faults({"left": {"left": {"n": "x"}}}) == [
        "argument `left.left.n`: expected integer, got 'x'"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_reading_never_raises(fields: Any) -> None:
    listing = read_tools("srv", [fields, entry(inputSchema=fields), entry(name="b", annotations=fields, _meta=fields)])
    assert len(listing.tools) + len(listing.refused) == 3


@given(JSON)
def test_checking_agrees_with_the_reference_library(value: Any) -> None:
    from jsonschema import Draft202012Validator

    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string", "minLength": 2}, {"type": "array", "items": {"type": "number"}}]},
            "b": {"type": ["integer", "null"], "minimum": 0},
        },
        "additionalProperties": {"type": "boolean"},
    }
    for candidate in (value, {"a": value}, {"b": value}, {"c": value}):
        assert (SchemaCheck(schema).faults(candidate) == []) == Draft202012Validator(schema).is_valid(candidate)
