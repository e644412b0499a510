"""Turn credit: equal to solving from scratch, telescoping, impossible to farm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym import RewardSpec, ToolCall, ToolResult
from tir_gym.errors import UsageError
from tir_gym.gold import ReplayedGold
from tir_gym.matching import hard, similarity_matrix
from tir_gym.records import GoldCall, GoldTrace
from tir_gym.rewards import PRESETS, Credit, get_reward
from tir_gym.rewards.credit import GoldSide

call = st.builds(
    ToolCall,
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1), max_size=2),
)
turns = st.lists(st.lists(st.tuples(call, st.booleans()), max_size=3), max_size=6)


def side(calls: list[ToolCall], stages: list[int] | None = None) -> GoldSide:
    stages = stages or [0] * len(calls)
    trace = GoldTrace(
        calls=tuple(GoldCall(name=c.name, arguments=c.arguments, stage=s) for c, s in zip(calls, stages, strict=True))
    )
    gold = ReplayedGold(trace, tuple(calls), tuple(ToolResult() for _ in calls), tuple(() for _ in calls), {}, {}, None)
    return GoldSide(gold, tuple({} for _ in calls))


def result(ok: bool) -> ToolResult:
    return ToolResult() if ok else ToolResult(error="no", error_kind="refused")


@given(turns, st.lists(call, max_size=5), st.sampled_from(["default", "paper"]))
def test_credit_equals_solving_from_scratch_after_every_turn(played: Any, gold: list[ToolCall], preset: str) -> None:
    spec = PRESETS[preset]
    credit = Credit(spec, [side(gold)])
    so_far: list[tuple[ToolCall, bool]] = []
    paid = 0.0
    for number, turn in enumerate(played):
        match = credit.turn(number, [c for c, _ in turn], [result(ok) for _, ok in turn])
        so_far += turn
        paid += match.reward
        matrix = similarity_matrix([c for c, _ in so_far], gold, strictness=spec.strictness)
        for i, (_, ok) in enumerate(so_far):
            if not ok and not spec.failed_calls_match:
                matrix[i] = 0.0
        best = hard(matrix)
        assert match.value == pytest.approx(best.total)
        failed = sum(not ok for _, ok in so_far) - sum(not so_far[i][1] for i, _, _ in match.pairs)
        redundant = len(so_far) - len(match.pairs) - failed
        assert paid == pytest.approx(best.total - spec.redundant * redundant - spec.failed * failed)
        assert sum(match.parts.values()) == pytest.approx(match.reward)
        assert sum(score for _, _, score in match.pairs) == pytest.approx(match.value)
        assert len({g for _, g, _ in match.pairs}) == len({c for c, _, _ in match.pairs}) == len(match.pairs)
        assert match.value <= len(gold) + 1e-9


@given(turns, st.lists(call, min_size=1, max_size=4))
def test_snapshot_and_restore_change_nothing(played: Any, gold: list[ToolCall]) -> None:
    straight, branched = Credit(PRESETS["default"], [side(gold)]), Credit(PRESETS["default"], [side(gold)])
    for number, turn in enumerate(played):
        arguments = number, [c for c, _ in turn], [result(ok) for _, ok in turn]
        snapshot = branched.snapshot()
        branched.turn(number, [ToolCall("a", {"x": 1})] * 3, [ToolResult()] * 3)
        branched.restore(snapshot)
        assert branched.turn(*arguments) == straight.turn(*arguments)
    assert branched.matches() == straight.matches()


@given(st.lists(call, min_size=1, max_size=4), st.integers(1, 20))
def test_copies_of_a_right_call_earn_nothing_more(gold: list[ToolCall], copies: int) -> None:
    """Under strict and graded credit with a price on redundant calls, repeating can only lose."""
    for spec in (PRESETS["default"], RewardSpec(strictness="strict", redundant=0.05)):
        distinct = [gold[0], ToolCall("other")]
        once = Credit(spec, [side(distinct)]).turn(0, [gold[0]], [ToolResult()]).reward
        credit = Credit(spec, [side(distinct)])
        total = sum(credit.turn(t, [gold[0]], [ToolResult()]).reward for t in range(copies + 1))
        assert total == pytest.approx(once - spec.redundant * copies)


def test_a_better_call_takes_over_and_earns_the_difference() -> None:
    credit = Credit(PRESETS["default"], [side([ToolCall("f", {"x": 1, "y": 2})])])
    half = credit.turn(0, [ToolCall("f", {"x": 1, "y": 0})], [ToolResult()])
    assert half.reward == pytest.approx(0.55)
    right = credit.turn(1, [ToolCall("f", {"x": 1, "y": 2})], [ToolResult()])
    assert right.parts == pytest.approx({"match": 0.45, "redundant": -0.05})
    assert [entry["status"] for entry in right.calls] == ["redundant", "matched"]
    assert half.calls[0]["wrong"] == ["y"]


def test_failed_calls_match_in_the_paper_but_not_by_default() -> None:
    gold = [ToolCall("f", {"x": 1})]
    refused = [ToolResult(error="no", error_kind="refused")]
    assert Credit(PRESETS["paper"], [side(gold)]).turn(0, gold, refused).reward == 1.0
    assert Credit(PRESETS["default"], [side(gold)]).turn(0, gold, refused).parts == {"failed": -0.05}


def test_the_best_alternative_counts() -> None:
    main, other = [ToolCall("a"), ToolCall("b")], [ToolCall("c")]
    credit = Credit(PRESETS["default"], [side(main), side(other)])
    assert credit.turn(0, [ToolCall("c")], [ToolResult()]).trace == 1
    match = credit.turn(1, [ToolCall("a"), ToolCall("b")], [ToolResult(), ToolResult()])
    assert (match.trace, match.value) == (0, 2.0)


def test_teacher_forced_calls_match_gold_of_their_own_stage_only() -> None:
    gold = [ToolCall("f"), ToolCall("f")]
    credit = Credit(PRESETS["default"], [side(gold, [0, 1])], teacher_forced=True)
    assert credit.turn(0, [ToolCall("f"), ToolCall("f")], [ToolResult()] * 2, stage=0).value == 1.0
    assert credit.turn(1, [ToolCall("f")], [ToolResult()], stage=1).value == 2.0


def test_hindsight_is_the_mean_of_a_turn_and_the_outcome_last() -> None:
    gold = [ToolCall("a"), ToolCall("b")]
    credit = Credit(PRESETS["paper"], [side(gold)])
    credit.turn(0, [ToolCall("a"), ToolCall("x")], [ToolResult()] * 2)
    credit.turn(1, [ToolCall("b")], [ToolResult()])
    credit.turn(2, [], [], outcome=0.5)
    assert credit.hindsight(3, 0.5) == (0.5, 1.0, 0.5)


def test_a_reward_is_a_preset_a_record_or_its_fields() -> None:
    assert get_reward("paper") is get_reward("paper-hard")
    assert get_reward({"match": 0.5}).match == 0.5
    assert get_reward(RewardSpec()) == RewardSpec()
    with pytest.raises(UsageError, match="no reward preset 'best'"):
        get_reward("best")
    with pytest.raises(UsageError, match="macth"):
        get_reward({"macth": 1})
