"""Reading assistant messages in every dialect: what is a call, what is malformed, what is talk."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym import ToolCall
from tir_gym.dialects import DIALECTS, Malformed, get_dialect
from tir_gym.dialects.dialect import thoughts_of, without_thoughts
from tir_gym.errors import UsageError

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))
calls = st.lists(st.builds(ToolCall, names, st.dictionaries(st.text(max_size=6), values, max_size=3)), max_size=3)
prose = st.text(st.characters(exclude_characters="<>{}[]`", exclude_categories=["Cs"]), max_size=40)


@pytest.mark.parametrize("name", DIALECTS)
@given(text=prose, made=calls)
def test_what_is_rendered_is_read_back(name: str, text: str, made: list[ToolCall]) -> None:
    dialect = get_dialect(name)
    if any("</tool_call>" in json.dumps(call.arguments) for call in made):
        return
    parsed = dialect.parse(dialect.render(text, made))
    assert [(c.name, c.arguments) for c in parsed.items if isinstance(c, ToolCall)] == [
        (c.name, c.arguments) for c in made
    ]
    assert not any(isinstance(item, Malformed) for item in parsed.items)
    if not made or name != "json":
        assert parsed.text.strip() == text.strip()


@pytest.mark.parametrize("name", DIALECTS)
@given(action=st.text(max_size=200) | values | st.binary(max_size=5) | st.dictionaries(st.text(max_size=12), values))
def test_reading_never_raises(name: str, action: Any) -> None:
    parsed = get_dialect(name).parse(action)
    assert isinstance(parsed.text, str)


@pytest.mark.parametrize("name", DIALECTS)
@given(entry=values, arguments=values)
def test_any_tool_calls_field_is_read_without_raising(name: str, entry: Any, arguments: Any) -> None:
    for tool_calls in (entry, [entry], [{"function": {"name": "f", "arguments": arguments}}]):
        parsed = get_dialect(name).parse({"role": "assistant", "content": None, "tool_calls": tool_calls})
        for item in parsed.items:
            assert isinstance(item, Malformed) or isinstance(item.arguments, dict)


def reasons(dialect: str, action: Any) -> list[str]:
    return [item.reason for item in get_dialect(dialect).parse(action).items if isinstance(item, Malformed)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>{"name": "f", "arguments": {}', "not closed"),
        ("<tool_call>{name: f}</tool_call>", "not valid JSON"),
        ("<tool_call></tool_call>", "not valid JSON"),
        ('<tool_call>["f"]</tool_call>', "got a list"),
        ('<tool_call>{"arguments": {}}</tool_call>', "needs a `name`"),
        ('<tool_call>{"name": "f", "arguments": [1]}</tool_call>', "must be an object, got a list"),
        ('<tool_call>{"name": "f", "arguments": "{"}</tool_call>', "arguments of f are not valid JSON"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "not valid JSON"),
        ('<tool_call>{"name": "f", "arguments": {"x": ' + "9" * 5000 + "}}</tool_call>", "too many digits"),
    ],
)
def test_malformed_hermes_calls_say_what_is_wrong(text: str, reason: str) -> None:
    found = reasons("hermes", text)
    assert len(found) == 1
    assert reason in found[0]


def test_hermes_reads_several_calls_around_a_malformed_one() -> None:
    parsed = get_dialect("hermes").parse(
        'First <tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call> then <tool_call>oops</tool_call>'
        '<tool_call>\n{"name": "g", "arguments": "{\\"y\\": 2}"}\n</tool_call>'
    )
    assert parsed.text == "First  then"
    first, second, third = parsed.items
    assert first == ToolCall("f", {"x": 1})
    assert isinstance(second, Malformed)
    assert third == ToolCall("g", {"y": 2})


@pytest.mark.parametrize("thought", ["<think>{}</think>", "<think>{}"])
def test_calls_inside_thoughts_are_thoughts(thought: str) -> None:
    inner = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parsed = get_dialect("hermes").parse(thought.replace("{}", inner))
    assert parsed.items == ()
    parsed = get_dialect("json").parse(thought.replace("{}", '{"name": "f"}'))
    assert parsed.items == ()


@pytest.mark.parametrize("name", DIALECTS)
def test_a_thought_that_the_template_opened_is_a_thought(name: str) -> None:
    call = get_dialect(name).render("", [ToolCall("f", {})])
    text = call if isinstance(call, str) else "CANNOT: no"
    parsed = get_dialect(name).parse('Maybe <tool_call>{"name": "g"}</tool_call>? No.</think>' + text)
    assert [item.name for item in parsed.items if isinstance(item, ToolCall)] == ([] if name == "openai" else ["f"])
    assert parsed.refusal is (name == "openai")


@pytest.mark.parametrize(
    ("text", "thoughts"),
    [
        ("Done.", ()),
        ("<think>a</think>Done.<think> b </think>", ("a", "b")),
        ("opened before</think>Done.", ("opened before",)),
        ("Done. <think>cut off", ("cut off",)),
        ("<think></think>Done.", ()),
    ],
)
def test_what_is_left_out_of_the_words_was_thought(text: str, thoughts: tuple[str, ...]) -> None:
    assert without_thoughts(text).strip() == "Done."
    assert thoughts_of(text) == thoughts_of({"content": text}) == thoughts
    parts = {"content": [{"type": "text", "text": text}], "reasoning_content": "apart", "reasoning": None}
    assert thoughts_of(parts) == ("apart", *thoughts)


@pytest.mark.parametrize("action", [None, 3, {}, {"content": 3}, {"content": [3], "reasoning": 3}])
def test_what_says_nothing_thinks_nothing(action: Any) -> None:
    assert thoughts_of(action) == ()


def test_thoughts_beside_calls_are_no_words() -> None:
    message = {"content": "<think>hm</think>Looking.", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    assert get_dialect("openai").parse(message).text == "Looking."


@pytest.mark.parametrize("depth", [10, 79, 90, 300, 100_000])
def test_how_deep_arguments_may_be_does_not_depend_on_the_caller(depth: int) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    message = {"tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert reasons("openai", message) == (
        [] if depth < 80 else ["the arguments of f are not valid JSON: nested too deeply"]
    )


def test_a_fence_is_read_in_one_pass() -> None:
    # Trying each of the line breaks as the end of the fence's first line would take 10**11 steps here.
    text = "```" + "\n" * 400_000 + "x"
    assert get_dialect("json").parse(text).text == text


def test_json_dialect_reads_one_call_a_list_or_a_fence() -> None:
    dialect = get_dialect("json")
    assert dialect.parse('{"name": "f", "arguments": {"x": 1}}').items == (ToolCall("f", {"x": 1}),)
    assert dialect.parse('[{"name": "f"}, {"name": "g"}]').items == (ToolCall("f"), ToolCall("g"))
    assert dialect.parse('```json\n{"name": "f"}\n```').items == (ToolCall("f"),)
    assert dialect.parse('{"answer": 5}').items == ()
    assert dialect.parse("It is 5.").text == "It is 5."
    assert "not valid JSON" in reasons("json", '{"name": "f", ')[0]
    assert len(reasons("json", '[{"name": "f"}, 3]')) == 1


def test_openai_ids_are_kept_and_arguments_may_be_text_or_object() -> None:
    parsed = get_dialect("openai").parse(
        {
            "content": [{"type": "text", "text": "ok"}],
            "tool_calls": [
                {"id": "abc", "function": {"name": "f", "arguments": '{"x": 1}'}},
                {"id": "def", "function": {"name": "g", "arguments": {"y": 2}}},
                {"function": {"name": "h", "arguments": ""}},
            ],
        }
    )
    assert parsed.text == "ok"
    assert [(c.name, c.arguments, c.id) for c in parsed.items if isinstance(c, ToolCall)] == [
        ("f", {"x": 1}, "abc"),
        ("g", {"y": 2}, "def"),
        ("h", {}, None),
    ]


@pytest.mark.parametrize("action", [None, 7, [], b"x", {}, {"role": "assistant"}])
def test_what_is_no_message_is_malformed(action: Any) -> None:
    assert "an action is text" in reasons("openai", action)[0]


@pytest.mark.parametrize("name", ["hermes", "json"])
def test_arguments_under_another_name_are_not_taken_for_none(name: str) -> None:
    call = '{"name": "add", "parameters": {"a": 1, "b": 2}}'
    (item,) = DIALECTS[name].parse(f"<tool_call>{call}</tool_call>" if name == "hermes" else call).items
    assert item == Malformed("the arguments of add go into `arguments`, not into `parameters`")


def test_a_call_in_the_old_form_is_no_final_answer() -> None:
    old = {"content": None, "function_call": {"name": "add", "arguments": "{}"}}
    assert DIALECTS["openai"].parse(old).items == (
        Malformed("calls go into `tool_calls`, a list, not into `function_call`"),
    )
    assert not DIALECTS["openai"].parse({"content": "Done.", "function_call": None}).items


def test_a_refusal_is_marked_by_its_field_or_its_first_word() -> None:
    dialect = get_dialect("openai")
    assert dialect.parse({"content": None, "refusal": "I cannot."}).refusal
    assert dialect.parse({"content": None, "refusal": "I cannot."}).text == "I cannot."
    assert dialect.parse("CANNOT: no such alarm").refusal
    assert dialect.parse("<think>hm</think>\nCANNOT: no").refusal
    assert not dialect.parse("I CANNOT: say").refusal


def test_unknown_dialect() -> None:
    with pytest.raises(UsageError, match="no dialect 'xml'"):
        get_dialect("xml")


@pytest.mark.parametrize("name", DIALECTS)
def test_long_arguments_are_read_as_short_ones_are(name: str) -> None:
    dialect = get_dialect(name)
    made = [ToolCall("f", {"x": "long " * 20_000, "y": [{"z": n} for n in range(1000)]})]
    (read,) = dialect.parse(dialect.render("", made)).items
    assert isinstance(read, ToolCall)
    assert read.arguments == made[0].arguments
    (refused,) = dialect.parse(dialect.render("", [ToolCall("f", {"x": [0] * 100_000})])).items
    assert isinstance(refused, Malformed)
    assert "more than 100000 values" in refused.reason
