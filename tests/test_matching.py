"""The matching against golden numbers, brute force and the properties that the design promises."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym import ToolCall
from tir_gym.errors import UsageError
from tir_gym.matching import hard, similarity, similarity_matrix

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
calls = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b", "c"]),
        "arguments": st.dictionaries(st.sampled_from(["x", "y", "z"]), st.integers(0, 2), max_size=3),
    }
)


def test_golden_problems(shared: Path) -> None:
    problems = json.loads((shared / "golden" / "matching.json").read_text())
    assert len(problems) == 120
    for problem in problems:
        matrix = similarity_matrix(problem["predicted"], problem["gold"])
        shape = (len(problem["predicted"]), len(problem["gold"]))
        expected = np.array(problem["similarity"], dtype=float).reshape(shape)
        np.testing.assert_allclose(matrix, expected, atol=1e-6)
        assert hard(matrix).total == pytest.approx(problem["optimal_total"], abs=1e-6)


def test_table_9_of_the_paper() -> None:
    gold = [
        ToolCall("valley_hill_analyzer"),
        ToolCall(
            "landmark_locator",
            {"landmark_type": "castle", "geographic_feature": "Yosemite Valley", "position_relation": "on the hill"},
        ),
        ToolCall("architect_inspiration_analyzer", {"landmark": "hearst castle"}),
        ToolCall("person_locator", {"name": "Lily Chen"}),
        ToolCall("building_material_analyzer", {"location": "Santa Barbara"}),
    ]
    wrong = {"landmark_type": "castle", "geographic_feature": "valley", "position_relation": "overlooking"}
    predicted = [ToolCall("landmark_locator", wrong), *gold]
    assert hard(similarity_matrix(predicted, gold)).rewards.tolist() == [0, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ({"x": 1}, {"x": 1}, 1.0),
        ({"x": 2}, {"x": 1}, 2 / 3),
        ({"x": "1"}, {"x": 1}, 2 / 3),
        ({"x": 1.0}, {"x": 1}, 1.0),
        ({"x": True}, {"x": 1}, 2 / 3),
        ({"x": 1, "y": 2}, {"x": 1}, 2.5 / 3),
        ({}, {}, 1.0),
        ({"x": 1}, {}, 0.5),
        ({}, {"x": 1}, 1 / 3),
        ({"x": [1, {"k": None}]}, {"x": [1.0, {"k": None}]}, 1.0),
        ({"x": math.nan}, {"x": math.nan}, 2 / 3),
    ],
)
def test_paper_similarity(predicted: dict[str, Any], gold: dict[str, Any], expected: float) -> None:
    assert similarity(ToolCall("f", predicted), ToolCall("f", gold)) == pytest.approx(expected)
    assert similarity(ToolCall("g", predicted), ToolCall("f", gold)) == 0.0


def test_strictness() -> None:
    gold = ToolCall("f", {"x": 1, "y": 2})
    half = ToolCall("f", {"x": 1, "y": 3})
    assert similarity(half, gold, strictness="strict") == 0.0
    assert similarity(gold, gold, strictness="strict") == 1.0
    assert similarity(half, gold, strictness="graded") == pytest.approx(0.1 + 0.9 / 2)
    assert similarity(ToolCall("f", {"x": 0, "y": 0}), gold, strictness="graded") == pytest.approx(0.1)
    assert similarity(ToolCall("f"), gold, strictness="graded") == 0.0
    assert similarity(gold, gold, strictness="graded") == 1.0


def test_comparators_apply_to_their_argument_only() -> None:
    gold = ToolCall("f", {"text": "Buy milk", "other": "Buy milk"})
    close = ToolCall("f", {"text": "buy  MILK", "other": "buy  MILK"})
    assert similarity(close, gold, comparators={"text": "folded"}) == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "f",
        [],
        {},
        {"name": None, "arguments": {}},
        {"name": None},
        {"name": "f", "arguments": []},
        {"name": "f", "arguments": None},
        {"name": "f", "arguments": "{}"},
        {"name": ["f"], "arguments": {}},
    ],
)
def test_odd_calls_match_nothing(odd: Any) -> None:
    assert similarity(odd, {"name": "f", "arguments": {}}) == 0.0
    assert similarity({"name": "f", "arguments": {}}, odd) == 0.0
    assert similarity(odd, odd) == 0.0


def test_deep_nesting_does_not_raise() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    other: Any = []
    for _ in range(100_000):
        other = [other]
    assert similarity(ToolCall("f", {"x": 0}), {"name": "f", "arguments": {"x": deep}}) < 1.0
    assert similarity({"name": "f", "arguments": {"x": other}}, {"name": "f", "arguments": {"x": deep}}) < 1.0


@given(st.dictionaries(st.text(max_size=4), json_values, max_size=4), st.dictionaries(st.text(max_size=4), json_values))
def test_similarity_is_bounded(predicted: dict[str, Any], gold: dict[str, Any]) -> None:
    for strictness in ("partial", "graded", "strict"):
        value = similarity(
            {"name": "f", "arguments": predicted}, {"name": "f", "arguments": gold}, strictness=strictness
        )
        assert 0.0 <= value <= 1.0


matrices = st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(st.sampled_from([0.0, 0.25, 0.5, 2 / 3, 1.0]), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@given(matrices)
def test_hard_equals_brute_force(matrix: list[list[float]]) -> None:
    array = np.array(matrix, dtype=float).reshape(len(matrix), len(matrix[0]) if matrix else 0)
    found = hard(array)
    assert found.total == pytest.approx(_best_by_brute_force(array))
    assert len({i for i, _ in found.pairs}) == len({j for _, j in found.pairs}) == len(found.pairs)
    assert found.rewards.sum() == pytest.approx(found.total)
    assert found.rewards.shape == (array.shape[0],)
    assert hard(array).pairs == found.pairs


def test_hard_is_not_greedy() -> None:
    assert hard([[1.0, 0.9], [0.9, 0.0]]).total == pytest.approx(1.8)


@given(st.lists(calls, max_size=5), st.lists(calls, max_size=5), st.randoms(use_true_random=False))
def test_order_of_gold_changes_no_total(predicted: list[Any], gold: list[Any], random: Any) -> None:
    shuffled = list(gold)
    random.shuffle(shuffled)
    total = hard(similarity_matrix(predicted, gold)).total
    assert hard(similarity_matrix(predicted, shuffled)).total == pytest.approx(total)
    assert total <= len(gold) + 1e-9


@pytest.mark.parametrize("bad", [[[math.nan]], [1.0, 2.0], [[math.inf]]])
def test_hard_refuses_what_is_no_finite_matrix(bad: Any) -> None:
    with pytest.raises(UsageError, match="finite matrix"):
        hard(bad)


def _best_by_brute_force(matrix: np.ndarray) -> float:
    rows, columns = matrix.shape
    if rows > columns:
        return _best_by_brute_force(matrix.T)
    choices = itertools.permutations(range(columns), rows)
    return max((sum(matrix[i, j] for i, j in enumerate(choice)) for choice in choices), default=0.0)
