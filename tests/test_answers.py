"""Reading final answers: one value stated, however it is written; many values stated is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.answers import extract_answer, is_refusal, states, token_f1
from tir_gym.compare import comparator, json_equal, register_comparator, token
from tir_gym.errors import UsageError
from tir_gym.records import AnswerCheck


@pytest.mark.parametrize(
    ("type", "value", "right", "wrong"),
    [
        ("text", "Conference Room 2", ["conference room 2.", "the Conference Room 2"], ["room 2", "rooms 1 and 2", ""]),
        ("number", 1234.5, ["1,234.5", "It is 1234.50 $"], ["1234", "1234.5 or 99", "none", "1e999"]),
        ("number", -3, ["-3", "-3.0"], ["3", "x-3y"]),
        ("time", "14:30:00", ["14:30", "2:30 pm", "at 2:30 PM sharp", "14:30:00"], ["2:30", "14:30 or 15:30", "2 pm"]),
        ("time", "00:05:00", ["12:05 am", "0:05"], ["12:05", "12:05 pm"]),
        ("date", "2025-03-01", ["on 2025-03-01"], ["2025-03-02", "2025-03-01 or 2025-03-02", "March 1"]),
        ("set", ["Ann Lee", "Bo"], ["Bo, Ann Lee", "ann lee and bo", "Bo; Ann Lee;"], ["Bo", "Bo, Ann Lee, Cy"]),
        ("set", ["rice and beans"], ["Rice and beans"], ["rice"]),
        ("text", "A", ["A", "a."], ["", "...", "the", "B"]),
        ("text", "+", ["+", " + "], ["", "-"]),
        ("set", ["A", "B"], ["A, B", "b and a"], ["B", "A"]),
    ],
)
def test_each_type(type: Any, value: Any, right: list[str], wrong: list[str]) -> None:
    check = AnswerCheck(type=type, value=value)
    for answer in right:
        assert states(f"I looked. <answer>{answer}</answer>", check), answer
    for answer in wrong:
        assert not states(f"<answer>{answer}</answer>", check), answer


def test_the_last_answer_counts_and_a_flood_does_not() -> None:
    assert extract_answer("<answer>1</answer> no, <ANSWER> 2 </ANSWER>") == "2"
    assert extract_answer("just 3") == "just 3"
    assert extract_answer("inside <answer> tags: <answer>4</answer> </answer>") == "4"
    assert not states("<answer>5" + " " * 3000 + "</answer>x", AnswerCheck(type="text", value="6"))
    assert not states("five " * 1000, AnswerCheck(type="text", value="five"))


def test_an_open_tag_repeated_costs_one_pass() -> None:
    # A search from each tag to the end would compare 10**12 characters here.
    flood = "<answer>" * 400_000
    assert extract_answer(flood) == flood


def test_token_f1() -> None:
    assert token_f1("<answer>the red house</answer>", "Red House") == 1.0
    assert token_f1("red car", "red house") == pytest.approx(0.5)
    assert token_f1("", "red") == 0.0
    assert token_f1("red red red", "red") == pytest.approx(0.5)


def test_refusals() -> None:
    assert is_refusal("  CANNOT: no such person")
    assert not is_refusal("cannot: x")


@pytest.mark.parametrize(
    ("name", "a", "b", "same"),
    [
        ("exact", 1, 1.0, True),
        ("exact", True, 1, False),
        ("exact", "1", 1, False),
        ("exact", [1, {"a": None}], [1, {"a": None}], True),
        ("exact", {"a": 1}, {"a": 1, "b": 2}, False),
        ("exact", 10**400, 1e300, False),
        ("folded", " A  b ", "a B", True),
        ("folded", "a", 1, False),
        ("number:0.5", 1, 1.5, True),
        ("number:0.5", 1, 1.51, False),
        ("number:0.5", True, 1, False),
        ("number:0.5", float("nan"), float("nan"), False),
        ("day", "2025-01-01 10:00:00", "2025-01-01", True),
        ("day", "2025-01-01", "2025-01-02", False),
        ("day", "", "", False),
        ("set", ["a", "b", "a"], ["b", "a"], True),
        ("set", ["a"], ["a", "b"], False),
        ("set", "a", "a", False),
        ("text:0.8", "Buy some milk", "buy some  milk!", True),
        ("text:0.8", "Buy some milk", "sell the cow", False),
        ("text:0.8", None, None, False),
        ("number:0.5", 10**400, 1.5, False),
        ("set", [{"a": [1]}, True], [True, {"a": [1.0]}], True),
        ("set", [1], [True], False),
        ("subset", ["a", "b", "c"], ["c", "a"], True),
        ("subset", ["a"], ["a", "b"], False),
        ("subset", "abc", ["a"], False),
        ("regex", "Room 12", r"room \d+|Room \d+", True),
        ("regex", "Room 12b", r"Room \d+", False),
        ("regex", "(", "(", False),
        ("regex", 5, "5", False),
        ("regex", "a" * 3000, "a*", False),
    ],
)
def test_comparators(name: str, a: Any, b: Any, same: bool) -> None:
    assert comparator(name)(a, b) is same


@pytest.mark.parametrize("name", ["", "text", "text:x", "exact:1", "fuzzy"])
def test_unknown_comparators(name: str) -> None:
    with pytest.raises(UsageError, match="comparator"):
        comparator(name)


def test_a_comparator_of_ones_own() -> None:
    register_comparator("test-same-length", lambda a, b: len(str(a)) == len(str(b)))
    assert comparator("test-same-length")("abc", "xyz")
    with pytest.raises(UsageError, match="is taken"):
        register_comparator("test-same-length", json_equal)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, 1.0, -0.0, 1.5, float("nan")])
    | st.text("1a"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(json_values, json_values)
def test_tokens_are_equal_exactly_where_values_are(a: Any, b: Any) -> None:
    assert (token(a) == token(b)) is json_equal(a, b)
    assert (token([a]) == token([a])) is json_equal([a], [a])


def test_json_equality_survives_depth() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert not json_equal(deep, [deep])
    assert token(deep) != token(deep)


def test_sets_of_deep_values_do_not_raise() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = {"a": value}
        return value

    for depth in (10, 300, 400, 500, 700, 900, 5000):
        for name in ("set", "subset"):
            assert comparator(name)([nested(depth)], [nested(depth)]) in (True, False)
    assert comparator("set")([nested(10)], [nested(10)])
