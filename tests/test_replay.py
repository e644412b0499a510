"""Replay: equal bytes for an honest trace, the first difference for any other, and no code chosen by a trace."""

from __future__ import annotations

from typing import Any

import pytest

from tir_gym.agents.noisy import NoisyAgent
from tir_gym.agents.oracle import OracleAgent
from tir_gym.episode import play_episode
from tir_gym.errors import UsageError
from tir_gym.making import make_env
from tir_gym.records import Trace
from tir_gym.replay_trace import env_of, replay_trace

CALCULATOR = "tir_gym/Calculator-v0"


def played(task: str = "test/3", agent: Any = None, **options: Any) -> Trace:
    return play_episode(make_env(CALCULATOR, **options), agent or OracleAgent(), task=task, name="someone").trace


def edited(trace: Trace, *path: Any, value: Any) -> Trace:
    """The trace with one place of its JSON replaced, as a file that somebody changed."""
    data = trace.model_dump(mode="json")
    node = data
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return Trace.model_validate(data)


@pytest.mark.parametrize("dialect", ["openai", "hermes", "json"])
@pytest.mark.parametrize("task", ["train/0", "test/3", "test/8"])
def test_an_honest_trace_replays_to_the_same_bytes_after_a_round_trip_through_json(task: str, dialect: str) -> None:
    trace = played(task, NoisyAgent(0.6), dialect=dialect, reward="paper", max_turns=20)
    read = Trace.model_validate_json(trace.model_dump_json())
    result = replay_trace(read)
    assert result.same
    assert result.trace.canonical() == trace.canonical()
    assert not result.versions_differ
    assert len(result.matches) == len(trace.turns)
    assert [match.reward for match in result.matches] == [turn.reward for turn in trace.turns]


def test_a_reset_by_seed_replays_too() -> None:
    env = make_env(CALCULATOR)
    env.reset(seed=11)
    env.step("no idea")
    assert replay_trace(env.trace()).same


def test_a_task_given_as_data_replays_from_its_provenance_alone() -> None:
    task = make_env(CALCULATOR).task_named("test/5").model_copy(update={"id": "mine"})
    env = make_env(CALCULATOR, task=task)
    env.reset()
    env.step("no idea")
    trace = Trace.model_validate_json(env.trace().model_dump_json())
    assert trace.provenance.task_id == "mine"
    assert replay_trace(trace).same


@pytest.mark.parametrize(
    ("path", "value", "place", "turn"),
    [
        (("turns", 1, "observation", 0, "content"), "999", "turns/1/observation/0/content", 1),
        (("turns", 0, "reward"), 17.0, "turns/0/reward", 0),
        (("turns", 0, "parts", "bonus"), 0.0, "turns/0/parts/bonus", 0),
        (("turns", 2, "action", "tool_calls", 0, "function", "name"), "divide", "turns/2/text", 2),
        (("success",), False, "success", None),
        (("checks", "answer"), False, "checks/answer", None),
        (("messages", 1, "content"), "Start with 1.", "messages/1/content", None),
        (("turn_rewards",), [], "turn_rewards/0", None),
    ],
)
def test_the_first_difference_is_named(path: tuple[Any, ...], value: Any, place: str, turn: int | None) -> None:
    result = replay_trace(edited(played(), *path, value=value))
    assert not result.same
    assert result.difference is not None
    if path[:2] != ("turns", 2):  # another action changes what follows: where exactly is the environment's business
        assert (result.difference.path, result.difference.turn) == (place, turn)
    else:
        assert result.difference.turn == turn
    assert "recorded" in result.difference.text
    assert "replayed" in result.difference.text


def test_replay_stops_at_the_first_turn_that_differs() -> None:
    result = replay_trace(edited(played(), "turns", 0, "reward", value=9.0))
    assert len(result.trace.turns) == 1


def test_a_trace_that_goes_on_after_its_end_differs_there() -> None:
    trace = played()
    longer = trace.model_copy(update={"turns": (*trace.turns, trace.turns[0])})
    result = replay_trace(longer)
    assert result.difference is not None
    assert result.difference.turn == len(trace.turns)
    assert "nothing" in result.difference.text


def test_a_long_value_is_shown_where_it_differs() -> None:
    trace = played()
    text = str(trace.messages[0]["content"])
    changed = edited(trace, "messages", 0, "content", value="x" * 5000 + text)
    difference = replay_trace(changed).difference
    assert difference is not None
    assert len(difference.text) < 1000


def test_a_failure_from_outside_is_taken_over_as_recorded() -> None:
    env = make_env(CALCULATOR)
    env.reset(options={"task": "test/3"})
    env.step({"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]})
    env.abort("agent_failure", "the endpoint is down")
    trace = env.trace(agent="llm:m@http://x")
    assert trace.infra_error is not None
    assert replay_trace(Trace.model_validate_json(trace.model_dump_json())).same


def test_a_trace_with_words_that_are_no_unicode_replays_too() -> None:
    odd = "a\ud800\x00"
    env = make_env(CALCULATOR)
    env.reset(options={"task": "test/3"})
    calls = [{"id": odd, "function": {"name": name, "arguments": {odd: [odd, float("nan")]}}} for name in ("add", odd)]
    env.step({"content": odd, "tool_calls": calls})
    result = replay_trace(env.trace())
    assert result.same
    forged = env.trace().model_copy(update={"gold_calls": 99})
    difference = replay_trace(forged).difference
    assert difference is not None
    assert difference.path == "gold_calls"


def test_another_version_is_said() -> None:
    trace = edited(played(), "provenance", "tir_gym", value="0.0.1")
    result = replay_trace(trace)
    assert result.versions_differ
    assert result.recorded_version == "0.0.1"
    assert result.same


def test_a_trace_may_not_choose_what_is_imported() -> None:
    trace = edited(played(), "provenance", "env_id", value="subprocess:Popen")
    with pytest.raises(UsageError, match=r"subprocess:Popen.*--env"):
        replay_trace(trace)
    assert env_of(trace, env_id=CALCULATOR).env_id == CALCULATOR


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("tir_gym/Remote-v0", {"url": "http://127.0.0.1:9", "env_id": CALCULATOR}),
        ("tir_gym/SQL-v0", {"url": "postgresql://someone@127.0.0.1:9/work"}),
        (CALCULATOR, {"servers": [{"at": "ws://127.0.0.1:9"}]}),
    ],
)
def test_a_trace_may_not_choose_what_is_connected_to(env_id: str, kwargs: dict[str, Any]) -> None:
    trace = edited(edited(played(), "provenance", "env_id", value=env_id), "provenance", "env_kwargs", value=kwargs)
    (name, *_) = kwargs
    with pytest.raises(UsageError, match=rf"elsewhere.*'{name}'.*--env-arg {name}="):
        replay_trace(trace)
    with pytest.raises(UsageError, match="elsewhere"):
        env_of(trace, env_id=env_id)


def test_an_address_given_now_or_in_the_words_of_a_task_leads_nowhere_new() -> None:
    there = {"url": "postgresql://someone@127.0.0.1:9/work"}
    trace = edited(played(), "provenance", "env_kwargs", value=there)
    assert env_of(edited(trace, "provenance", "env_id", value="tir_gym/SQL-v0"), url=None).env_id == "tir_gym/SQL-v0"
    task = make_env(CALCULATOR).make_task("test", 3).model_dump(mode="json")
    task["messages"][0]["content"] += " See https://example.org."
    assert env_of(edited(played(), "provenance", "env_kwargs", value={"task": task})).env_id == CALCULATOR


def test_options_given_now_win_over_recorded_ones() -> None:
    trace = edited(played(), "provenance", "env_kwargs", value={"max_turns": 1})
    assert not replay_trace(trace).same
    assert replay_trace(trace, env_of(trace, max_turns=9)).same


def test_a_task_that_is_gone_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no task 'dev/3'"):
        replay_trace(edited(played(), "provenance", "task_id", value="dev/3"))
