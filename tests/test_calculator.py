"""The Calculator family: sound golds, disjoint splits, and an oracle that never misses."""

from __future__ import annotations

import re
from typing import Any

import gymnasium as gym
import pytest

from tir_gym import GoldCall, ToolCall, ToolEnv, UsageError
from tir_gym.answers import states
from tir_gym.envs.calculator import CalculatorEnv
from tir_gym.gold import faults, refs, verified
from tir_gym.records import AnswerCheck, Task


@pytest.fixture
def env() -> ToolEnv:
    made = gym.make("tir_gym/Calculator-v0").unwrapped
    assert isinstance(made, CalculatorEnv)
    return made


def answer_of(task: Task) -> AnswerCheck:
    (check,) = task.gold.checks
    assert isinstance(check, AnswerCheck)
    return check


def request(task: Task) -> str:
    return str(task.messages[-1]["content"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_oracle_succeeds_and_earns_all_there_is(split: str) -> None:
    env = gym.make("tir_gym/Calculator-v0", split=split)
    for seed in range(200):
        _, info = env.reset(seed=seed)
        task, total = env.unwrapped.task, 0.0  # type: ignore[attr-defined]
        said: list[str] = []
        for text, calls in info["oracle"].script():
            observation, reward, terminated, truncated, info = env.step(render(env, text, calls))
            total += float(reward)
            said += [message["content"] for message in observation]
        assert (terminated, truncated, info["success"]) == (True, False, True)
        assert total == pytest.approx(len(task.gold.calls) + 1)
        assert states(said[-1], answer_of(task)), "the last tool's result is the expected answer"


@pytest.mark.parametrize("split", ["train", "test"])
def test_golds_have_no_faults_and_tasks_differ(split: Any, env: ToolEnv) -> None:
    openings = set()
    for number in range(200):
        task = env.make_task(split, number)
        assert task == env.make_task(split, number)
        assert faults(task, env.make_sandbox(task)) == []
        openings.add(str(task.messages))
    assert len(openings) == 200


def test_splits_share_no_wording_and_no_length(env: ToolEnv) -> None:
    train, test = ([env.make_task(split, number) for number in range(200)] for split in ("train", "test"))
    assert {len(task.gold.calls) for task in train}.isdisjoint(len(task.gold.calls) for task in test)
    assert {call.name for task in train for call in task.gold.calls} == {"add", "subtract", "multiply", "divide"}

    def wordings(tasks: list[Task]) -> set[str]:
        bills = [request(task).removesuffix(". What is the result?") for task in tasks]
        return {re.sub(r"\d+", "N", part) for bill in bills for part in bill.split(", ")}

    assert len(wordings(train)) == len(wordings(test)) == 3
    assert wordings(train).isdisjoint(wordings(test))


def test_numbers_of_a_request_differ(env: ToolEnv) -> None:
    for number in range(200):
        numbers = re.findall(r"\d+", request(env.make_task("train", number)))
        assert len(numbers) == len(set(numbers))


def test_products_are_independent_and_sums_refer_to_them(env: ToolEnv) -> None:
    _, info = env.reset(options={"task": "test/5"})
    assert [len(calls) for _, calls in info["oracle"].script()] == [3, 1, 1, 1, 0]
    referred = [[ref.call for ref in refs(call.arguments)] for call in env.task.gold.calls]
    assert referred == [[], [], [], [0, 1], [3, 2], [4]]


@pytest.mark.parametrize("answer", ["", "42", "I cannot tell", "1 2 3 4 5 6 7 8 9"])
def test_a_guess_does_not_succeed(answer: str) -> None:
    env = gym.make("tir_gym/Calculator-v0")
    for seed in range(20):
        env.reset(seed=seed)
        _, reward, terminated, _, info = env.step(answer)
        assert terminated
        assert not info["success"]
        assert reward == 0.0


def test_division_by_zero_is_a_refusal_that_the_agent_reads() -> None:
    env = gym.make("tir_gym/Calculator-v0")
    env.reset(seed=0)
    observation, reward, terminated, truncated, _ = env.step(
        render(env, "", (ToolCall("divide", {"a": 1, "b": 0}), ToolCall("add", {"a": "one", "b": 2})))
    )
    assert "division by zero" in observation[0]["content"]
    assert "argument `a`" in observation[1]["content"]
    assert reward == pytest.approx(-0.1)
    assert not terminated
    assert not truncated


def test_a_task_that_is_not_sound_is_refused(env: ToolEnv) -> None:
    task = env.make_task("train", 0)
    broken = task.gold.model_copy(update={"calls": (*task.gold.calls, GoldCall(name="divide", arguments={"a": 1}))})
    with pytest.raises(UsageError, match=r"train/0 is not sound: gold call \d \(divide\) fails"):
        verified(task.model_copy(update={"gold": broken}), env.make_sandbox(task))


def render(env: gym.Env[Any, Any], text: str, calls: tuple[ToolCall, ...]) -> Any:
    return env.unwrapped.dialect.render(text, calls)  # type: ignore[attr-defined]
