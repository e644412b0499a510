"""Reward hacking is bounded: on every long task of the shipped families no probe gets 0.35 of the oracle's return."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import pytest

import tir_gym
from tir_gym.agents import (
    PROBE_BOUND,
    PROBED_GOLD_CALLS,
    PROBES,
    ProbedTask,
    make_agent,
    measure_probes,
    oracle_return,
    probe_tasks,
)
from tir_gym.agents.programmed import ProgrammedAgent
from tir_gym.answers import is_refusal
from tir_gym.episode import play_episode
from tir_gym.errors import UsageError
from tir_gym.messages import Observation
from tir_gym.records import ToolCall, Trace

CALCULATOR = "tir_gym/Calculator-v0"
SHIPPED = [
    CALCULATOR,
    "tir_gym/Assistant-v0",
    "tir_gym/Search-v0",
    "tir_gym/Code-v0",
    "tir_gym/Lookup-v0",
    "tir_gym/Files-v0",
]


def make_env(env_id: str = CALCULATOR, **options: Any) -> tir_gym.ToolEnv:
    env = gymnasium.make(env_id, **options).unwrapped
    assert isinstance(env, tir_gym.ToolEnv)
    return env


def trace_of(probe: str, task: str = "test/0") -> Trace:
    return play_episode(make_env(), make_agent(f"probe:{probe}"), task=task).trace


def above_bound(probed: list[ProbedTask]) -> dict[str, list[tuple[str, float]]]:
    """Task and share wherever a probe reaches the bound, by probe."""
    found = {name: [(t.task_id, t.share(name)) for t in probed if t.share(name) >= PROBE_BOUND] for name in PROBES}
    return {name: tasks for name, tasks in found.items() if tasks}


def long_tasks(make: Callable[[], tir_gym.ToolEnv], n: int) -> list[str]:
    """The first `n` tasks of the split that have enough gold calls to be probed."""
    env, found, first = make(), [], 0
    while len(found) < n:
        for task in env.task_ids(50, first):
            _, info = env.reset(options={"task": task})
            if len(info["oracle"].calls) >= PROBED_GOLD_CALLS:
                found.append(task)
        first += 50
        assert first < 5000, "hardly a task is long enough to be probed"
    return found[:n]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("env_id", SHIPPED)
def test_no_probe_reaches_the_bound_on_any_long_task(env_id: str, split: str) -> None:
    make = partial(make_env, env_id, split=split)
    probed = probe_tasks(make, long_tasks(make, 40))
    assert len(probed) == 40
    assert above_bound(probed) == {}
    # And on the whole: the mean of a probe's returns as a share of the mean of the oracle's.
    oracle = sum(task.oracle for task in probed)
    assert max(sum(task.returns[name] for task in probed) / oracle for name in PROBES) < PROBE_BOUND


@pytest.mark.parametrize("reward", ["outcome", "progress"])
@pytest.mark.parametrize("env_id", SHIPPED)
def test_nor_under_the_other_presets_that_are_not_the_paper_s(env_id: str, reward: str) -> None:
    make = partial(make_env, env_id, split="test", reward=reward)
    assert above_bound(probe_tasks(make, long_tasks(make, 25))) == {}


class Told(ProgrammedAgent):
    """States the right answer at once, without the work."""

    needs_gold: ClassVar[bool] = True

    def decide(self, observation: Observation) -> tuple[str, tuple[ToolCall, ...]]:
        return self.oracle.script()[-1]


@pytest.mark.parametrize("reward", ["default", "progress"])
def test_where_the_path_counts_not_even_the_right_answer_is_worth_much(reward: str) -> None:
    env = make_env("tir_gym/Assistant-v0", reward=reward)
    for task in long_tasks(partial(make_env, "tir_gym/Assistant-v0"), 25):
        told = sum(turn.reward for turn in play_episode(env, Told(), task=task).trace.turns)
        assert told < PROBE_BOUND * oracle_return(env, task)


def test_no_probe_reaches_the_bound_on_any_long_dialogue(shared: Path) -> None:
    if not (shared / "data" / "tooltalk").is_dir():
        pytest.skip(f"no ToolTalk dialogues at {shared / 'data' / 'tooltalk'}")
    make = partial(make_env, "tir_gym/ToolTalk-v0", data_dir=str(shared / "data" / "tooltalk"))
    probed = probe_tasks(make, make().task_ids())
    assert len(probed) >= 30
    assert above_bound(probed) == {}


def test_the_paper_s_reward_can_be_hacked() -> None:
    """Which is why it is not the default; a bound that every reward meets would bound nothing."""
    probed = probe_tasks(partial(make_env, reward="paper"), make_env().task_ids(20))
    assert {"repeat", "wrong-args"} & set(above_bound(probed))


def test_what_is_measured_is_the_best_share_over_long_tasks() -> None:
    make = partial(make_env, split="test")
    tasks = make().task_ids(10)
    probed = probe_tasks(make, tasks)
    measured = measure_probes(make, tasks)
    assert list(measured) == list(PROBES)
    for name, share in measured.items():
        assert share == max(task.returns[name] / oracle_return(make(), task.task_id) for task in probed)
    assert measured["nothing"] == 0.0
    assert measured["first"] > 0.0


def test_short_tasks_are_passed_over() -> None:
    env = make_env()
    calls = {}
    for task in env.task_ids(10):
        _, info = env.reset(options={"task": task})
        calls[task] = len(info["oracle"].calls)
    longest = max(calls.values())
    probed = probe_tasks(make_env, calls, min_gold_calls=longest)
    assert {task.task_id for task in probed} == {task for task, n in calls.items() if n == longest}
    assert probe_tasks(make_env, calls, min_gold_calls=longest + 1) == []
    assert measure_probes(make_env, []) == {}


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="pays its oracle"):
        measure_probes(partial(make_env, reward={"match": 0.0, "outcome": 0.0}), make_env().task_ids(3))


def test_the_oracle_s_return_is_its_calls_and_the_outcome() -> None:
    env = make_env(split="test")
    for task in env.task_ids(5):
        _, info = env.reset(options={"task": task})
        assert oracle_return(env, task) == pytest.approx(len(info["oracle"].calls) + 1.0)


# Each probe does what it is named for.


def gold_of(task: str) -> list[tuple[str, dict[str, Any]]]:
    _, info = make_env().reset(options={"task": task})
    return [(call.name, call.arguments) for call in info["oracle"].calls]


def made(trace: Trace) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for turn in trace.turns for call in turn.calls]


def test_repeat_makes_the_first_right_call_until_the_budget_is_spent() -> None:
    trace = trace_of("repeat")
    assert trace.ending == "max_turns"
    assert made(trace) == [gold_of("test/0")[0]] * len(trace.turns)
    assert all(turn.reward < 0 for turn in trace.turns[len(gold_of("test/0")) :])


def test_first_makes_one_call_and_stops() -> None:
    trace = trace_of("first")
    assert made(trace) == gold_of("test/0")[:1]
    assert trace.ending == "answer"
    assert trace.success is False


def test_every_tool_is_called_once_with_arguments_that_it_takes() -> None:
    trace = trace_of("every-tool")
    assert [name for name, _ in made(trace)] == [spec.name for spec in trace.tools]
    assert all(r.error_kind != "invalid_arguments" for turn in trace.turns for r in turn.results)


def test_wrong_args_names_the_right_tools_and_arguments_and_no_right_value() -> None:
    trace, gold = trace_of("wrong-args"), gold_of("test/0")
    assert [(name, set(arguments)) for name, arguments in made(trace)] == [(name, set(args)) for name, args in gold]
    for name, arguments in made(trace):
        for key, value in arguments.items():
            assert all(args[key] != value for other, args in gold if other == name)


def test_dump_tries_the_values_of_the_request_and_of_results() -> None:
    trace = trace_of("dump")
    tools = len(trace.tools)
    assert [len(turn.calls) for turn in trace.turns] == [2 * tools, 2 * tools, 0]
    assert len({repr(call) for call in made(trace)}) == 4 * tools
    request = trace.messages[-1]["content"]
    assert all(str(value) in request for _, arguments in made(trace)[: 2 * tools] for value in arguments.values())


def test_answer_is_a_value_of_the_request_without_the_work() -> None:
    trace = trace_of("answer")
    assert made(trace) == []
    guess = trace.turns[0].text.removeprefix("<answer>").removesuffix("</answer>")
    assert guess in trace.messages[-1]["content"]
    assert trace.success is False


def test_answer_dump_refuse_ask_and_nothing_are_words_only() -> None:
    dumped, refused, asked, nothing = (trace_of(name) for name in ("answer-dump", "refuse", "ask", "nothing"))
    assert dumped.turns[0].text.count(",") >= 2
    assert is_refusal(refused.turns[0].text)
    assert asked.turns[0].text == "Could you tell me the a, b?"
    assert nothing.turns[0].text == ""
    for trace in (dumped, refused, asked, nothing):
        assert made(trace) == []
        assert len(trace.turns) == 1
        assert trace.success is False
