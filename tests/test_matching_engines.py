"""Soft, ordered, incremental and batched matching: against references, brute force and golden numbers."""

from __future__ import annotations

import itertools
import json
import math
import random
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_gym import ToolCall
from tir_gym.errors import UsageError
from tir_gym.matching import (
    IncrementalAssignment,
    Matcher,
    hard,
    hard_batch,
    ordered,
    similarity,
    similarity_batch,
    similarity_matrix,
    soft,
    soft_batch,
)
from tir_gym.matching.ordered import LARGEST

weights = st.sampled_from([0.0, 0.25, 0.5, 2 / 3, 1.0]) | st.floats(0, 1)


def matrices(rows: int, columns: int) -> st.SearchStrategy[np.ndarray]:
    return st.tuples(st.integers(0, rows), st.integers(0, columns)).flatmap(
        lambda shape: st.lists(weights, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
            lambda flat: np.array(flat, dtype=float).reshape(shape)
        )
    )


# Soft


def test_soft_golden_rewards(shared: Path) -> None:
    problems = json.loads((shared / "golden" / "matching.json").read_text())
    solved = soft_batch([similarity_matrix(problem["predicted"], problem["gold"]) for problem in problems])
    for problem, found in zip(problems, solved, strict=True):
        np.testing.assert_allclose(found.rewards, problem["soft_rewards"], atol=2e-5)


def test_soft_on_table_9_of_the_paper() -> None:
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
    found = soft(similarity_matrix([ToolCall("landmark_locator", wrong), *gold], gold))
    np.testing.assert_allclose(found.rewards, [0.0252, 0.1666, 0.1581, 0.1666, 0.1666, 0.1666], atol=5e-5)


@settings(max_examples=40)
@given(matrices(6, 5).filter(lambda m: m.size > 0), st.sampled_from([0.05, 0.1, 1.0]))
def test_soft_is_the_optimal_plan(matrix: np.ndarray, epsilon: float) -> None:
    """The optimum is the one plan of the form exp(u_i + v_j + S_ij / epsilon) with the right marginals."""
    plan = soft(matrix, epsilon).plan
    potentials = np.log(plan) - matrix / epsilon
    centred = potentials - potentials.mean(axis=0) - potentials.mean(axis=1)[:, None] + potentials.mean()
    np.testing.assert_allclose(centred, 0, atol=1e-8)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / matrix.shape[0], atol=1e-9)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / matrix.shape[1], atol=1e-9)


@settings(max_examples=60)
@given(matrices(7, 6), st.sampled_from([0.002, 0.1, 30.0]))
def test_soft_marginals_are_uniform(matrix: np.ndarray, epsilon: float) -> None:
    p, g = matrix.shape
    found = soft(matrix, epsilon)
    assert found.plan.shape == (p, g)
    assert found.rewards.shape == (p,)
    if matrix.size:
        np.testing.assert_allclose(found.plan.sum(axis=1), 1 / p, atol=1e-9)
        np.testing.assert_allclose(found.plan.sum(axis=0), 1 / g, atol=1e-9)
        np.testing.assert_allclose(found.rewards, (found.plan * matrix).sum(axis=1), atol=1e-12)
    assert found.total <= 1 + 1e-9


@settings(max_examples=30)
@given(st.lists(matrices(6, 5), max_size=6), st.sampled_from([0.0, 0.5]))
def test_batches_equal_single_problems(problems: list[np.ndarray], penalty: float) -> None:
    for one, alone in zip(soft_batch(problems), map(soft, problems), strict=True):
        np.testing.assert_allclose(one.plan, alone.plan, atol=1e-9)
    solved = hard_batch(problems, unmatched_penalty=penalty)
    for one, problem in zip(solved, problems, strict=True):
        alone = hard(problem, unmatched_penalty=penalty)
        assert (one.pairs, one.total) == (alone.pairs, alone.total)
        assert one.rewards.tolist() == alone.rewards.tolist()


@pytest.mark.parametrize("bad", [[[math.nan]], [1.0, 2.0], [[math.inf]], [[-1.0, 2.0]]])
def test_hard_batch_refuses_what_hard_refuses(bad: Any) -> None:
    with pytest.raises(UsageError) as alone:
        hard(bad)
    with pytest.raises(UsageError) as together:
        hard_batch([np.eye(2), bad, np.zeros((0, 3))])
    assert str(together.value) == str(alone.value)


# Many similarities at once

numbers = [0, 1, -1, -2, 1.0, True, False, math.nan, math.inf, -0.0, 10**400, 2**61, float(2**61)]
nested = [[], [1], [1.0], [True], ["a", None], ["a", [1]], (1,), {}, {"k": 1}, {"k": True}, {"k": [math.nan]}]
others = [None, "1", "a", "A  ", set(), b"a", IntEnum("Level", ["LOW"]).LOW, StrEnum("Letter", ["a"]).a]
odd_values = st.sampled_from([*numbers, *nested, *others])
some_calls = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "F", "g"]), "arguments": st.dictionaries(st.sampled_from("xyz"), odd_values)}
)
no_calls = st.sampled_from(
    [
        None,
        7,
        "f",
        [],
        {},
        {"name": None},
        {"name": "f"},
        {"name": ["f"], "arguments": {}},
        {"name": "f", "arguments": []},
    ]
)
any_call = (
    some_calls | no_calls | some_calls.map(lambda call: ToolCall(call["name"], {"x": call["arguments"].get("x")}))
)
gold_entry = any_call | st.lists(any_call, max_size=3)
rule = st.sampled_from(["exact", "folded", "set", "number:1", lambda a, b: a is None])
gold_side = st.lists(st.tuples(gold_entry, st.none() | st.dictionaries(st.sampled_from("xyz"), rule)), max_size=4)


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.lists(any_call, max_size=5), gold_side, st.booleans()), max_size=4),
    st.sampled_from(["partial", "graded", "strict"]),
    st.booleans(),
)
def test_similarities_of_many_problems_are_those_of_each(problems: list[Any], strictness: Any, fold: bool) -> None:
    predicted = [calls for calls, _, _ in problems]
    gold = [[entry for entry, _ in side] for _, side, _ in problems]
    rules = [[rules for _, rules in side] if ruled else None for _, side, ruled in problems]
    options: dict[str, Any] = {"strictness": strictness, "fold_names": fold}
    together = similarity_batch(predicted, gold, comparators=rules, **options)
    for found, calls, side, given_rules in zip(together, predicted, gold, rules, strict=True):
        alone = similarity_matrix(calls, side, comparators=given_rules, **options)
        assert found.shape == alone.shape
        assert found.tolist() == alone.tolist()


def test_as_many_problems_as_one_likes() -> None:
    rng = random.Random(0)
    problems = [
        [
            [ToolCall(rng.choice("fg"), {"x": rng.randrange(3), "y": rng.randrange(2)}) for _ in range(n % 5)]
            for n in pair
        ]
        for pair in itertools.product(range(20), range(20))
    ]
    predicted, gold = [p for p, _ in problems], [g for _, g in problems]
    for found, p, g in zip(similarity_batch(predicted, gold), predicted, gold, strict=True):
        assert found.tolist() == similarity_matrix(p, g).tolist()
    assert similarity_batch([], []) == []
    with pytest.raises(UsageError, match="2 predicted, 1 gold"):
        similarity_batch([[], []], [[]])


def test_many_similarities_of_values_nested_too_deeply() -> None:
    deep, other = [], []
    for _ in range(100_000):
        deep, other = [deep], [other]
    calls = [{"name": "f", "arguments": {"x": value}} for value in (deep, other, 0)]
    found = similarity_batch([calls], [calls])[0]
    assert found.tolist() == similarity_matrix(calls, calls).tolist()
    assert found[0, 1] < 1.0


def test_batches_on_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rng = np.random.default_rng(0)
    problems = [rng.random(shape) for shape in [(3, 2), (5, 7), (0, 2), (1, 1)]]
    tensors = [torch.tensor(problem) for problem in problems]
    for tensor, array in zip(soft_batch(tensors), soft_batch(problems), strict=True):
        assert isinstance(tensor.rewards, torch.Tensor)
        np.testing.assert_allclose(tensor.plan.numpy(), array.plan, atol=1e-9)
    for tensor, array in zip(hard_batch(tensors), hard_batch(problems), strict=True):
        assert isinstance(tensor.rewards, torch.Tensor)
        np.testing.assert_allclose(tensor.rewards.numpy(), array.rewards)


def test_soft_edge_cases() -> None:
    assert soft([]).rewards.shape == (0,)
    assert soft(np.zeros((3, 0))).rewards.tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(soft(np.eye(4), rescale=True).rewards, 1.0, atol=2e-3)
    np.testing.assert_allclose(soft(np.ones((3, 1))).rewards, 1 / 3)
    assert soft_batch([]) == []
    with pytest.raises(UsageError, match="epsilon=0"):
        soft([[1.0]], epsilon=0)
    with pytest.raises(UsageError, match="finite"):
        soft([[float("nan")]])


# Ordered


def ordered_by_brute_force(matrix: np.ndarray, turns: list[int], after: list[tuple[int, int]]) -> float:
    p, g = matrix.shape
    before = np.zeros((g, g), dtype=bool)
    for a, b in after:
        before[a, b] = True
    for _ in range(g):
        before |= (before.astype(int) @ before.astype(int)) > 0

    def search(column: int, used: frozenset[int], pairs: tuple[tuple[int, int], ...]) -> float:
        if column == g:
            return float(sum(matrix[pair] for pair in pairs))
        best = search(column + 1, used, pairs)
        for row in set(range(p)) - used:
            fits = all(
                (not before[h, column] or turns[q] < turns[row]) and (not before[column, h] or turns[row] < turns[q])
                for q, h in pairs
            )
            if fits and matrix[row, column] > 0:
                best = max(best, search(column + 1, used | {row}, (*pairs, (row, column))))
        return best

    return search(0, frozenset(), ())


@settings(max_examples=200)
@given(matrices(5, 4), st.data())
def test_ordered_equals_brute_force(matrix: np.ndarray, data: Any) -> None:
    p, g = matrix.shape
    turns = sorted(data.draw(st.lists(st.integers(0, 3), min_size=p, max_size=p)))
    order = data.draw(st.permutations(range(g)))
    forward = [(order[i], order[j]) for i in range(g) for j in range(i + 1, g)]
    chain = [(order[i], order[i + 1]) for i in range(g - 1)]
    after = chain if data.draw(st.booleans()) else [edge for edge in forward if data.draw(st.booleans())]
    found = ordered(matrix, turns, after)
    assert found.total == pytest.approx(ordered_by_brute_force(matrix, turns, after))
    assert found.total <= hard(matrix).total + 1e-9
    assert len({i for i, _ in found.pairs}) == len({j for _, j in found.pairs}) == len(found.pairs)
    assert found.rewards.sum() == pytest.approx(found.total)


def test_a_dependent_call_must_come_in_a_later_turn() -> None:
    same = np.eye(2)
    assert ordered(same, [0, 1], [(0, 1)]).total == 2.0
    assert ordered(same, [0, 0], [(0, 1)]).total == 1.0
    assert ordered(np.eye(3), [0, 1, 1], [(0, 1), (0, 2)]).total == 3.0
    assert ordered(np.eye(3), [0, 1, 2], [(0, 1), (1, 2)]).total == 3.0
    middle_missing = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert ordered(middle_missing, [0, 1], [(0, 1), (1, 2)]).total == 1.0


def test_ordered_misuse() -> None:
    with pytest.raises(UsageError, match="circle"):
        ordered(np.eye(2), [0, 1], [(0, 1), (1, 0)])
    with pytest.raises(UsageError, match="edge \\(0, 5\\)"):
        ordered(np.eye(2), [0, 1], [(0, 5)])
    with pytest.raises(UsageError, match="not decreasing"):
        ordered(np.eye(2), [1, 0], [(0, 1)])
    side = int(LARGEST**0.5) + 2
    with pytest.raises(UsageError, match=f"{LARGEST} is the limit"):
        ordered(np.ones((side, side)), [0] * side, [(0, 1), (2, 3)])


# Incremental


def test_ten_thousand_random_cases_equal_solving_from_scratch() -> None:
    rng = random.Random(0)
    checks = 0
    while checks < 10_000:
        columns = rng.randint(0, 6)
        density = rng.choice([0.3, 0.8, 1.0])
        coarse = rng.random() < 0.5
        engine, rows = IncrementalAssignment(columns), []
        for _ in range(rng.randint(1, 10)):
            row = [
                (rng.choice([0.25, 0.5, 2 / 3, 1.0]) if coarse else rng.random()) * (rng.random() < density)
                for _ in range(columns)
            ]
            rows.append(row)
            before = engine.pairs
            assert engine.add(row) == (engine.pairs != before)
            assert engine.value == pytest.approx(hard(np.array(rows).reshape(len(rows), columns)).total, abs=1e-9)
            assert sum(weight for _, _, weight in engine.pairs) == pytest.approx(engine.value)
            assert len({j for _, j, _ in engine.pairs}) == len({i for i, _, _ in engine.pairs}) == len(engine.pairs)
            checks += 1


call = st.builds(
    ToolCall,
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([0, 1, True, "1", 1.5, None, [1]]), max_size=2),
)


@given(st.lists(st.lists(call, max_size=3), max_size=5), st.lists(call, max_size=4), st.lists(call, max_size=3))
def test_matcher_credits_telescope(turns: list[list[ToolCall]], gold: list[ToolCall], other: list[ToolCall]) -> None:
    matcher, total, so_far = Matcher(gold, alternatives=[other]), 0.0, []
    for turn in turns:
        twin = matcher.fork()
        picture = matcher.snapshot()
        earned = matcher.add(turn)
        assert twin.add(turn) == earned
        matcher.add([ToolCall("a")])
        matcher.restore(picture)
        assert matcher.add(turn) == earned
        so_far += turn
        total += earned.credit
        values = [hard(similarity_matrix(so_far, trace)).total for trace in (gold, other)]
        assert earned.value == pytest.approx(max(values))
        assert total == pytest.approx(max(values))
        assert values[earned.trace] == pytest.approx(max(values))
        assert earned.credit >= -1e-9


@given(call, call, st.sampled_from(["partial", "graded", "strict"]))
def test_the_matrix_holds_the_similarities(p: ToolCall, g: ToolCall, strictness: Any) -> None:
    assert similarity_matrix([p], [g], strictness=strictness)[0, 0] == similarity(p, g, strictness=strictness)


def test_one_of_several_acceptable_calls() -> None:
    by_name, by_mail = ToolCall("find", {"name": "Ann"}), ToolCall("find", {"email": "ann@x.org"})
    matcher = Matcher([[by_name, by_mail], ToolCall("send")])
    assert matcher.add([by_mail]).credit == 1.0
    assert matcher.add([by_name]).credit == 0.0
    assert matcher.add([ToolCall("send")]).pairs == ((0, 0, 1.0), (2, 1, 1.0))


def test_names_may_be_folded() -> None:
    assert similarity(ToolCall("Find"), ToolCall("find")) == 0.0
    assert similarity(ToolCall("Find"), ToolCall("find"), fold_names=True) == 1.0
    assert Matcher([ToolCall("find")], fold_names=True).add([ToolCall("FIND")]).credit == 1.0


def test_unmatched_penalty() -> None:
    assert hard([[1.0], [0.5], [0.0]], unmatched_penalty=0.5).rewards.tolist() == [1.0, -0.5, -0.5]
    assert ordered(np.eye(2), [0, 0], [(0, 1)], unmatched_penalty=0.25).rewards.sum() == 0.75
