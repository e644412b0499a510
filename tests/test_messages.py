"""Tool messages: the same JSON as `json.dumps` writes, and nothing that is no JSON data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym import ToolCall, ToolResult
from tir_gym.errors import InfrastructureError
from tir_gym.messages import tool_messages

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def content(value: Any) -> str:
    (message,) = tool_messages([ToolCall("f")], [ToolResult(content=value)], 3)
    assert message["tool_call_id"] == "call_3_0"
    return str(message["content"])


@given(values.filter(lambda value: not isinstance(value, str)))
def test_content_is_what_json_dumps_writes(value: Any) -> None:
    assert content(value) == json.dumps(value, ensure_ascii=False)


def test_text_stands_as_it_is() -> None:
    assert content('a "b"') == 'a "b"'


@pytest.mark.parametrize("value", [{1, 2}, b"x", object()])
def test_what_is_no_json_data_is_the_tools_fault(value: Any) -> None:
    with pytest.raises(InfrastructureError, match="no JSON data"):
        content(value)


def test_a_value_that_holds_itself_is_the_tools_fault() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InfrastructureError, match="no JSON data"):
        tool_messages([ToolCall("f")], [ToolResult.model_construct(content=circle, error=None)], 0)
