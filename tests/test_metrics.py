"""Figures against brute force, against numbers worked out by hand, and against what must not change them."""

from __future__ import annotations

import itertools
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_agents import Down, Gold, Wild

from tir_gym.episode import play_episode
from tir_gym.errors import UsageError
from tir_gym.making import make_env
from tir_gym.metrics import Outcome, Summary, pass_at_k, pass_hat_k, summarise, wilson
from tir_gym.metrics.intervals import bootstrap_ratios


def outcome(task: str = "test/0", repeat: int = 0, success: bool | None = True, **figures: Any) -> Outcome:
    given: dict[str, Any] = {
        "return_": 1.0,
        "turns": 2,
        "calls": 1,
        "right_calls": 1,
        "gold_calls": 1,
        "malformed": 0,
        "errors": {},
        "ending": "answer",
        "infra_error": None,
        "seconds": 0.5,
    }
    return Outcome(task_id=task, repeat=repeat, success=success, **(given | figures))


def broken(task: str = "test/0", repeat: int = 0) -> Outcome:
    failure = {"kind": "sandbox_died", "tool": None, "message": "gone"}
    return outcome(task, repeat, None, return_=-100.0, ending="infra_error", infra_error=failure, seconds=1e6, turns=99)


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_estimates_are_the_share_of_subsets(attempts: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(attempts)))
    subsets = list(itertools.combinations(attempts, k))
    n, c = len(attempts), sum(attempts)
    assert pass_at_k(n, c, k) == pytest.approx(sum(any(subset) for subset in subsets) / len(subsets))
    assert pass_hat_k(n, c, k) == pytest.approx(sum(all(subset) for subset in subsets) / len(subsets))


@given(st.integers(1, 400), st.data())
def test_pass_estimates_keep_their_order(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    at, hat = pass_at_k(n, c, k), pass_hat_k(n, c, k)
    assert 0.0 <= hat <= c / n + 1e-12
    assert c / n - 1e-12 <= at <= 1.0
    assert hat == pytest.approx(1.0 - pass_at_k(n, n - c, k))  # all succeed unless one of k fails


def test_pass_estimates_are_unbiased() -> None:
    """Averaged over every outcome of n attempts with success rate p, they are 1 - (1-p)^k and p^k."""
    n, k, p = 6, 3, 0.3
    at = hat = 0.0
    for c in range(n + 1):
        chance = math.comb(n, c) * p**c * (1 - p) ** (n - c)
        at += chance * pass_at_k(n, c, k)
        hat += chance * pass_hat_k(n, c, k)
    assert at == pytest.approx(1 - (1 - p) ** k)
    assert hat == pytest.approx(p**k)


@pytest.mark.parametrize(("n", "c", "k"), [(0, 0, 1), (3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_pass_estimates_refuse_numbers_that_cannot_be(n: int, c: int, k: int) -> None:
    with pytest.raises(UsageError, match=f"n={n}, c={c}, k={k}"):
        pass_at_k(n, c, k)
    with pytest.raises(UsageError):
        pass_hat_k(n, c, k)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_of_published_cases(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    estimate = wilson(successes, n)
    assert estimate is not None
    assert (estimate.value, estimate.n) == (successes / n, n)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (low, high)


@given(st.integers(1, 2000), st.data())
def test_wilson_ends_are_the_rates_just_not_refuted(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    estimate = wilson(successes, n)
    assert estimate is not None
    assert 0.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
    for end in (estimate.low, estimate.high):
        if 0.0 < end < 1.0:
            z = abs(successes / n - end) / math.sqrt(end * (1 - end) / n)
            assert z == pytest.approx(1.959963984540054, rel=1e-6)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0) is None


def test_bootstrap_covers_a_known_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        sample = generator.normal(3.0, 2.0, size=(40, 1))
        low, high = bootstrap_ratios(sample, np.ones((40, 1)))
        covered += bool(low[0] <= 3.0 <= high[0])
    assert 180 <= covered <= 198


def test_bootstrap_resamples_tasks_and_not_episodes() -> None:
    """Repeats that all say the same are no new evidence: the interval is that of the tasks alone."""
    rng = random.Random(1)
    lucky = [rng.random() < 0.5 for _ in range(30)]
    once = summarise([outcome(f"t/{i}", 0, return_=float(win), success=win) for i, win in enumerate(lucky)])
    often = summarise(
        [outcome(f"t/{i}", r, return_=float(win), success=win) for i, win in enumerate(lucky) for r in range(20)]
    )
    assert once.mean_return is not None
    assert often.mean_return is not None
    assert often.mean_return.low == pytest.approx(once.mean_return.low)
    assert often.mean_return.high == pytest.approx(once.mean_return.high)
    assert often.pass_at_k[1].low == pytest.approx(once.pass_at_k[1].low)
    assert (once.mean_return.n, often.mean_return.n, often.pass_at_k[1].n) == (30, 600, 30)


@pytest.mark.parametrize("won", [0, 3, 17, 20])
def test_shares_of_one_attempt_each_have_one_interval(won: int) -> None:
    """pass@1 of single attempts is the success rate, and 20 of 20 leaves doubt whatever it is called."""
    summary = summarise([outcome(f"t/{i}", success=i < won) for i in range(20)])
    expected = wilson(won, 20)
    assert summary.success == summary.pass_at_k[1] == summary.pass_hat_k[1] == expected
    assert expected is not None
    assert expected.low < expected.high


def test_repeats_of_a_task_are_no_new_evidence_of_success() -> None:
    summary = summarise([outcome(f"t/{i}", r, success=i < 15) for i in range(20) for r in range(4)], k=4)
    once = wilson(15, 20)
    assert summary.success is not None
    assert once is not None
    assert (summary.success.low, summary.success.high, summary.success.n) == (once.low, once.high, 80)
    assert summary.pass_hat_k[4] == once


def test_the_interval_of_mixed_repeats_is_that_of_resampled_tasks() -> None:
    rng = random.Random(3)
    episodes = [outcome(f"t/{i:02}", r, success=rng.random() < 0.6) for i in range(40) for r in range(4)]
    summary = summarise(episodes)
    totals = [[float(sum(bool(each.success) for each in episodes[4 * i : 4 * i + 4]))] for i in range(40)]
    low, high = bootstrap_ratios(np.array(totals), np.full((40, 1), 4.0))
    assert summary.success is not None
    assert (summary.success.low, summary.success.high) == (low[0], high[0])


def test_summary_worked_out_by_hand() -> None:
    episodes = [
        outcome("a", 0, True, metrics={"action_precision": 1.0},
                return_=3.0, calls=2, right_calls=2, gold_calls=2, oracle_return=3.0, turns=3),
        outcome("a", 1, False, return_=1.0, calls=4, right_calls=1, gold_calls=2, oracle_return=3.0, turns=5,
                errors={"refused": 1, "malformed": 2}, malformed=2, ending="max_turns",
                usage={"prompt_tokens": 30, "completion_tokens": 4}),
        outcome("b", 0, True, metrics={"action_precision": 0.5, "soft": 0.5},
                return_=2.0, calls=0, right_calls=0, gold_calls=1, oracle_return=0.0, turns=1),
        outcome("b", 1, True, return_=2.0, calls=2, right_calls=1, gold_calls=1, errors={"refused": 1},
                usage={"prompt_tokens": 10, "completion_tokens": 2, "requests": 1}),
        outcome("c", 0, False, return_=-1.0, calls=2, right_calls=0, gold_calls=4, ending="refusal"),
        broken("c", 1),
        broken("d", 0),
    ]  # fmt: skip
    summary = summarise(episodes, k=3)
    assert (summary.episodes, summary.tasks, summary.successes) == (5, 3, 3)
    assert summary.success is not None
    assert summary.success.value == 3 / 5
    assert summary.mean_return is not None
    assert summary.mean_return.value == pytest.approx(7 / 5)
    assert summary.oracle_share is not None
    assert (summary.oracle_share.value, summary.oracle_share.n) == (pytest.approx((1 + 1 / 3) / 2), 2)
    assert summary.precision == 4 / 10
    assert summary.recall == 4 / 10
    assert summary.f1 == pytest.approx(0.4)
    assert summary.turns == pytest.approx((3 + 5 + 1 + 2 + 2) / 5)
    assert summary.calls == 2.0
    assert summary.tokens == pytest.approx((34 + 12) / 2)
    assert summary.usage == {"completion_tokens": 6, "prompt_tokens": 40, "requests": 1}
    assert summary.seconds == 0.5
    assert summary.pass_at_k[1].value == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert (summary.pass_at_k[2].value, summary.pass_at_k[2].n) == (1.0, 2)
    assert summary.pass_hat_k[2].value == 0.5
    assert sorted(summary.pass_at_k) == sorted(summary.pass_hat_k) == [1, 2]  # no task has three
    assert summary.errors == {"malformed": 2, "refused": 2}
    assert summary.metrics == {"action_precision": pytest.approx(0.75), "soft": 0.5}
    assert summary.endings == {"answer": 3, "max_turns": 1, "refusal": 1}
    assert (summary.infra_failures, summary.infra_errors) == (2, {"sandbox_died": 2})


def test_recall_never_exceeds_one() -> None:
    """An alternative gold trace may be longer than the main one, which `gold_calls` counts."""
    summary = summarise([outcome("a", right_calls=3, calls=3, gold_calls=2)])
    assert (summary.precision, summary.recall) == (1.0, 1.0)


def test_summary_of_nothing_says_nothing() -> None:
    for episodes in ([], [broken()]):
        summary = summarise(episodes, k=2)
        assert summary.success is summary.mean_return is summary.precision is summary.turns is summary.tokens is None
        assert (summary.episodes, summary.pass_at_k, summary.errors) == (0, {}, {})
        assert summary.infra_failures == len(episodes)


_outcomes = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 5), st.booleans(), st.floats(-5, 5), st.booleans()),
    unique_by=lambda each: each[:2],
    max_size=20,
).map(
    lambda rows: [
        broken(task, repeat) if failed else outcome(task, repeat, success, return_=value, oracle_return=2.0)
        for task, repeat, success, value, failed in rows
    ]
)


@given(_outcomes, st.randoms(use_true_random=False))
def test_neither_order_nor_infrastructure_failures_change_a_figure(episodes: list[Outcome], rng: random.Random) -> None:
    summary = summarise(episodes, k=3)
    shuffled = list(episodes)
    rng.shuffle(shuffled)
    assert summarise(shuffled, k=3) == summary
    healthy = summarise([each for each in episodes if each.infra_error is None], k=3)
    assert (
        healthy.model_copy(update={"infra_failures": summary.infra_failures, "infra_errors": summary.infra_errors})
        == summary
    )
    for estimate in (summary.mean_return, summary.oracle_share, *summary.pass_at_k.values()):
        assert estimate is None or estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9


@given(_outcomes)
def test_summary_round_trips_through_json(episodes: list[Outcome]) -> None:
    summary = summarise(episodes, k=2)
    assert Summary.model_validate(json.loads(summary.model_dump_json())) == summary


def test_summary_refuses_what_it_cannot_count() -> None:
    with pytest.raises(UsageError, match="k=0"):
        summarise([], k=0)
    with pytest.raises(UsageError, match="task test/0, repeat 0 has not ended"):
        summarise([outcome(success=None, ending=None)])


def test_outcomes_are_read_off_real_traces() -> None:
    env = make_env("tir_gym/Calculator-v0", split="test")
    gold = play_episode(env, Gold(), task="test/3")
    read = Outcome.of(gold.trace, repeat=1, seconds=gold.seconds, usage=gold.usage, tags=("x",))
    assert read.calls == read.right_calls == read.gold_calls == len(env.task.gold.calls)
    assert (read.success, read.repeat, read.errors, read.ending, read.tags) == (True, 1, {}, "answer", ("x",))
    assert read.return_ == pytest.approx(read.gold_calls + 1)
    assert read.tokens == 11 * read.turns
    assert json.loads(json.dumps(read.to_dict()))["task_id"] == "test/3"

    wild = Outcome.of(play_episode(env, Wild(), task="test/3").trace, repeat=0, seconds=0.0)
    assert (wild.calls, wild.malformed, wild.turns) == (2, 2, 3)
    assert wild.errors == {"malformed": 2, "unknown_tool": 1}
    assert (wild.success, wild.right_calls, wild.tokens) == (False, 0, None)

    down = Outcome.of(play_episode(env, Down(), task="test/3").trace, repeat=0, seconds=0.0)
    assert down.infra_error is not None
    assert down.infra_error["kind"] == "agent_failure"
    assert down.success is None
