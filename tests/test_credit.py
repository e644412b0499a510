"""Turn credit: equal to solving from scratch, telescoping, impossible to farm."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym import RewardSpec, ToolCall, ToolResult
from tir_gym.errors import UsageError
from tir_gym.gold import ReplayedGold
from tir_gym.matching import hard, similarity, similarity_matrix, soft
from tir_gym.records import AnswerCheck, GoldCall, GoldTrace, StateCheck
from tir_gym.rewards import PRESETS, Credit, GoldSide, Match, TurnEvent, get_reward, outcome

call = st.builds(
    ToolCall,
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1), max_size=2),
)
turns = st.lists(st.lists(st.tuples(call, st.booleans()), max_size=3), max_size=6)


def side(calls: list[ToolCall], stages: list[int] | None = None, edges: tuple[tuple[int, int], ...] = ()) -> GoldSide:
    stages = stages or [0] * len(calls)
    trace = GoldTrace(
        calls=tuple(GoldCall(name=c.name, arguments=c.arguments, stage=s) for c, s in zip(calls, stages, strict=True))
    )
    nothing = tuple(() for _ in calls)
    after = tuple(tuple(i for i, j in edges if j == n) for n in range(len(calls)))
    gold = ReplayedGold(trace, tuple(calls), nothing, tuple(ToolResult() for _ in calls), after, {}, {}, None)
    return GoldSide(gold, {})


def pay(credit: Credit, turn: int, calls: Any, results: Any, *, stage: int = 0, **ending: Any) -> Match:
    return credit.turn(TurnEvent(turn=turn, calls=calls, results=results, stage=stage), **ending)


def result(ok: bool) -> ToolResult:
    return ToolResult() if ok else ToolResult(error="no", error_kind="refused")


@given(turns, st.lists(call, max_size=5), st.sampled_from(["default", "paper"]))
def test_credit_equals_solving_from_scratch_after_every_turn(played: Any, gold: list[ToolCall], preset: str) -> None:
    spec = PRESETS[preset]
    credit = Credit(spec, [side(gold)])
    so_far: list[tuple[ToolCall, bool]] = []
    paid = 0.0
    for number, turn in enumerate(played):
        match = pay(credit, number, [c for c, _ in turn], [result(ok) for _, ok in turn])
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
        pay(branched, number, [ToolCall("a", {"x": 1})] * 3, [ToolResult()] * 3)
        branched.restore(snapshot)
        assert pay(branched, *arguments) == pay(straight, *arguments)
    assert branched.matches() == straight.matches()


@given(st.lists(call, min_size=1, max_size=4), st.integers(1, 20))
def test_copies_of_a_right_call_earn_nothing_more(gold: list[ToolCall], copies: int) -> None:
    """Under strict and graded credit with a price on redundant calls, repeating can only lose."""
    for spec in (PRESETS["default"], RewardSpec(strictness="strict", redundant=0.05)):
        distinct = [gold[0], ToolCall("other")]
        once = pay(Credit(spec, [side(distinct)]), 0, [gold[0]], [ToolResult()]).reward
        credit = Credit(spec, [side(distinct)])
        total = sum(pay(credit, t, [gold[0]], [ToolResult()]).reward for t in range(copies + 1))
        assert total == pytest.approx(once - spec.redundant * copies)


def test_a_better_call_takes_over_and_earns_the_difference() -> None:
    credit = Credit(PRESETS["default"], [side([ToolCall("f", {"x": 1, "y": 2})])])
    half = pay(credit, 0, [ToolCall("f", {"x": 1, "y": 0})], [ToolResult()])
    assert half.reward == pytest.approx(0.55)
    right = pay(credit, 1, [ToolCall("f", {"x": 1, "y": 2})], [ToolResult()])
    assert right.parts == pytest.approx({"match": 0.45, "redundant": -0.05})
    assert [entry["status"] for entry in right.calls] == ["redundant", "matched"]
    assert half.calls[0]["wrong"] == ["y"]


def test_failed_calls_match_in_the_paper_but_not_by_default() -> None:
    gold = [ToolCall("f", {"x": 1})]
    refused = [ToolResult(error="no", error_kind="refused")]
    assert pay(Credit(PRESETS["paper"], [side(gold)]), 0, gold, refused).reward == 1.0
    assert pay(Credit(PRESETS["default"], [side(gold)]), 0, gold, refused).parts == {"failed": -0.05}


def test_the_best_alternative_counts() -> None:
    main, other = [ToolCall("a"), ToolCall("b")], [ToolCall("c")]
    credit = Credit(PRESETS["default"], [side(main), side(other)])
    assert pay(credit, 0, [ToolCall("c")], [ToolResult()]).trace == 1
    match = pay(credit, 1, [ToolCall("a"), ToolCall("b")], [ToolResult(), ToolResult()])
    assert (match.trace, match.value) == (0, 2.0)


def test_teacher_forced_calls_match_gold_of_their_own_stage_only() -> None:
    gold = [ToolCall("f"), ToolCall("f")]
    credit = Credit(PRESETS["default"], [side(gold, [0, 1])], teacher_forced=True)
    assert pay(credit, 0, [ToolCall("f"), ToolCall("f")], [ToolResult()] * 2, stage=0).value == 1.0
    assert pay(credit, 1, [ToolCall("f")], [ToolResult()], stage=1).value == 2.0


def test_hindsight_is_the_mean_of_a_turn_and_the_outcome_last() -> None:
    gold = [ToolCall("a"), ToolCall("b")]
    credit = Credit(PRESETS["paper"], [side(gold)])
    pay(credit, 0, [ToolCall("a"), ToolCall("x")], [ToolResult()] * 2)
    pay(credit, 1, [ToolCall("b")], [ToolResult()])
    pay(credit, 2, [], [], outcome=0.5)
    assert credit.hindsight(3, 0.5) == (0.5, 1.0, 0.5)


def test_a_reward_is_a_preset_a_record_or_its_fields() -> None:
    assert get_reward("paper") is get_reward("paper-hard")
    assert get_reward({"match": 0.5}).match == 0.5
    assert get_reward(RewardSpec()) == RewardSpec()
    with pytest.raises(UsageError, match="no reward preset 'best'"):
        get_reward("best")
    with pytest.raises(UsageError, match="macth"):
        get_reward({"macth": 1})
    for weight in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="finite"):
            get_reward({"match": weight})


@pytest.mark.parametrize("edges", [((0, 1), (0, 2)), ((0, 1), (1, 2), (0, 2))])
def test_no_flood_of_calls_is_too_much_for_ordered_matching(edges: tuple[tuple[int, int], ...]) -> None:
    gold = side([ToolCall("f", {"x": x}) for x in range(3)], edges=edges)
    spec = RewardSpec(matching="ordered")
    credit = Credit(spec, [gold])
    flood = [ToolCall("f", {"x": x % 3}) for x in range(50)]
    for turn in range(10):
        snapshot, credit = credit.snapshot(), Credit(spec, [gold])
        credit.restore(snapshot)
        match = pay(credit, turn, flood, [ToolResult()] * 50)
    assert match.value == pytest.approx(3.0)


def test_the_way_that_is_explained_is_the_one_that_was_paid() -> None:
    ways = [
        ToolCall("f", {"w": 0, "y": 1}),
        ToolCall("f", {"y": 2, "x": 2, "w": 1}),
        ToolCall("f", {"y": 2, "z": 1, "x": 1, "w": 0}),
        ToolCall("G", {"a": 1}),
    ]
    gold = replace(side(ways[:1]), gold=replace(side(ways[:1]).gold, others=(tuple(ways[1:]),)))
    made = ToolCall("f", {"w": 0, "z": 2, "x": 2, "y": 2})
    for strictness in ("partial", "graded"):
        entry = pay(Credit(RewardSpec(strictness=strictness), [gold]), 0, [made], [ToolResult()]).calls[0]
        assert entry["score"] == similarity(made, ways[entry["way"]], strictness=strictness)
    folded = pay(Credit(RewardSpec(fold_names=True), [gold]), 0, [ToolCall("g", {"a": 1})], [ToolResult()])
    assert folded.calls[0]["way"] == 3


def test_ordered_matching_pays_a_dependent_call_in_a_later_turn_only() -> None:
    gold = side([ToolCall("a"), ToolCall("b")], edges=((0, 1),))
    spec = RewardSpec(matching="ordered", strictness="strict")
    together = Credit(spec, [gold])
    assert pay(together, 0, [ToolCall("a"), ToolCall("b")], [ToolResult()] * 2).value == 1.0
    assert pay(together, 1, [ToolCall("b")], [ToolResult()]).reward == pytest.approx(1.0)
    backwards = Credit(spec, [gold])
    pay(backwards, 0, [ToolCall("b")], [ToolResult()])
    assert pay(backwards, 1, [ToolCall("a")], [ToolResult()]).value == 1.0


def test_soft_matching_pays_in_hindsight_only() -> None:
    gold = [ToolCall("a"), ToolCall("b")]
    credit = Credit(PRESETS["paper-soft"], [side(gold)])
    assert pay(credit, 0, [ToolCall("a")], [ToolResult()]).reward == 0.0
    assert pay(credit, 1, [ToolCall("b")], [ToolResult()]).reward == 0.0
    last = pay(credit, 2, [], [], last=True, outcome=1.0)
    spread = soft(similarity_matrix(gold, gold))
    assert last.reward == pytest.approx(spread.total + 1.0)
    assert credit.hindsight(3, 1.0) == pytest.approx((*spread.rewards, 1.0))
    rescaled = Credit(RewardSpec(matching="soft", rescale=True), [side(gold)])
    assert pay(rescaled, 0, gold, [ToolResult()] * 2, last=True).value == pytest.approx(2.0, abs=1e-3)


def test_progress_pays_a_stage_only_after_the_ones_before() -> None:
    gold = [ToolCall("a"), ToolCall("b"), ToolCall("c")]
    credit = Credit(PRESETS["progress"], [side(gold, edges=((0, 1), (1, 2)))])
    assert pay(credit, 0, [ToolCall("c")], [ToolResult()]).reward == 0.0
    assert pay(credit, 1, [ToolCall("a")], [ToolResult()]).reward == 1.0
    assert pay(credit, 2, [ToolCall("b")], [ToolResult()]).reward == 2.0
    for odd in ({"matching": "ordered", "strictness": "strict"}, {"strictness": "graded"}):
        with pytest.raises(UsageError, match="staged"):
            get_reward({"staged": True, **odd})


def test_prices_of_the_economy_and_format_terms() -> None:
    spec = RewardSpec(match=0.0, over_optimum=0.5, characters=2.0, seconds=3.0, invalid=0.25, malformed=0.125)
    credit = Credit(spec, [side([ToolCall("a")])])
    wrong = ToolResult(error="no", error_kind="invalid_arguments")
    event = TurnEvent(
        0, [ToolCall("a"), ToolCall("b")], [ToolResult(), wrong], malformed=2, text="x" * 500, seconds=0.5
    )
    match = credit.turn(event)
    assert match.parts == {
        "over_optimum": -0.5,
        "characters": -1.0,
        "seconds": -1.5,
        "malformed": -0.25,
        "invalid": -0.25,
    }
    assert credit.turn(TurnEvent(1)).parts == {}


def test_the_process_term_pays_each_matched_call_once() -> None:
    spec = RewardSpec(match=0.0, succeeded=0.5, used=1.0)
    credit = Credit(spec, [side([ToolCall("find"), ToolCall("send", {"to": "ann@x.org"})])])
    found = ToolResult(content={"mails": [{"sender": "ann@x.org", "size": 2}]})
    assert pay(credit, 0, [ToolCall("find"), ToolCall("other")], [found, found]).parts == {"succeeded": 0.5}
    sent = pay(credit, 1, [ToolCall("send", {"to": "ann@x.org"})], [ToolResult(content="id-77")])
    assert sent.parts == {"succeeded": 0.5, "used": 1.0}
    assert pay(credit, 2, [ToolCall("find")], [found]).parts == {}
    assert credit.turn(TurnEvent(3, text="Sent as id-77.")).parts == {"used": 1.0}


@given(turns, st.lists(call, max_size=4), st.sampled_from(["default", "paper-hard", "outcome", "progress"]))
def test_every_preset_that_pays_online_telescopes(played: Any, gold: list[ToolCall], preset: str) -> None:
    edges = tuple((i, i + 1) for i in range(len(gold) - 1))
    together, apart = (Credit(PRESETS[preset], [side(gold, edges=edges)]) for _ in range(2))
    flat = [item for turn in played for item in turn]
    once = pay(together, 0, [c for c, _ in flat], [result(ok) for _, ok in flat])
    total = sum(
        pay(apart, number, [c for c, _ in turn], [result(ok) for _, ok in turn]).reward
        for number, turn in enumerate(played)
    )
    assert total == pytest.approx(once.reward)
    assert once.reward <= len(gold) + 1e-9


def test_outcome_kinds() -> None:
    declared = [StateCheck(), AnswerCheck(value="red house")]
    checks = {"state": False, "answer": True}
    assert outcome("success", checks, declared, "red house") == 0.0
    assert outcome("state", checks, declared, "red house") == 0.0
    assert outcome("answer_exact", checks, declared, "red house") == 1.0
    assert outcome("answer_f1", checks, declared, "red car") == pytest.approx(0.5)
    assert outcome("answer_f1", {"state": True}, [StateCheck()], "anything") == 1.0
    assert outcome("state", {"asked:x": True}, [], "") == 1.0


def test_a_call_is_known_by_its_result_where_the_tool_says_so() -> None:
    gold = replace(
        side([ToolCall("run", {"code": "print(1 + 1)"}), ToolCall("run", {"code": "print(7)"})]).gold,
        results=(ToolResult("2\n"), ToolResult("7\n")),
    )
    other = ToolCall("run", {"code": "print(2)"})
    for known, value in (({"run": "folded"}, 1.0), ({}, 0.1)):
        credit = Credit(PRESETS["default"], [GoldSide(gold, {}, known)])
        match = pay(credit, 0, [other], [ToolResult("2")])
        assert match.value == pytest.approx(value)
        # The same result once more is no other step.
        assert pay(credit, 1, [other], [ToolResult("2")]).value == pytest.approx(value + 0.1)
    credit = Credit(PRESETS["default"], [GoldSide(gold, {}, {"run": "folded"})])
    failed = pay(credit, 0, [other], [ToolResult("2", "but it failed", "raised")])
    assert failed.value == 0.0
    assert pay(credit, 1, [ToolCall("look", {"code": "print(2)"})], [ToolResult("2")]).value == 0.0
    assert pay(credit, 2, [ToolCall("run", {"odd": 1})], [ToolResult(7)]).value == pytest.approx(0.0)


def test_a_spec_describes_itself() -> None:
    assert PRESETS["default"].describe() == (
        "default: 1 x hard matching, graded credit; 1 x outcome by success; "
        "-0.05 per redundant call; -0.05 per failed call; -0.05 per malformed call"
    )
    assert "soft matching (epsilon 0.1)" in PRESETS["paper-soft"].describe()
    assert RewardSpec.model_validate_json(PRESETS["progress"].model_dump_json()) == PRESETS["progress"]


def test_another_way_is_compared_as_its_own_tool_says() -> None:
    main, other = ToolCall("mail", {"q": "Lunch"}), ToolCall("chat", {"q": "Lunch"})
    plain = side([main])
    gold = replace(plain.gold, others=((other,),))
    credit = Credit(PRESETS["default"], [GoldSide(gold, {"chat": {"q": "folded"}})])
    match = pay(credit, 0, [ToolCall("chat", {"q": "lunch"})], [ToolResult()])
    assert match.value == 1.0
    assert match.calls[0]["way"] == 1
    assert match.calls[0]["right"] == ["q"]
    assert (
        pay(
            Credit(PRESETS["default"], [GoldSide(gold, {"chat": {"q": "folded"}})]),
            0,
            [ToolCall("mail", {"q": "lunch"})],
            [ToolResult()],
        ).value
        < 1.0
    )
