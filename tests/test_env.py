"""The contract of `ToolEnv`, on a family made for the purpose and on every registered id."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st
from notebook import TOOLS, WORLD, NotebookEnv, make_task
from pydantic import ValidationError

import tir_gym
from tir_gym.dialects import get_dialect
from tir_gym.env import ToolEnv
from tir_gym.errors import SandboxDied, UsageError
from tir_gym.records import AnswerCheck, StateCheck, Task, TaskLimits
from tir_gym.registration import cards
from tir_gym.sandboxes.state import StateSandbox

IDS = [card.id for card in cards().values() if not card.needs]


def act(*calls: tuple[str, dict[str, Any]], text: str = "") -> dict[str, Any]:
    return get_dialect("openai").render(text, [tir_gym.ToolCall(name, arguments) for name, arguments in calls])  # type: ignore[return-value]


def play_oracle(env: gym.Env[Any, Any], **reset: Any) -> tuple[list[float], dict[str, Any]]:
    _, info = env.reset(**reset)
    rewards = []
    for text, calls in info["oracle"].script():
        _, reward, _, _, info = env.step(env.unwrapped.dialect.render(text, calls))
        rewards.append(reward)
    return rewards, info


# Gymnasium


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_accepts_every_id(id: str) -> None:
    check_env(gym.make(id).unwrapped)
    check_env(gym.make(id, split="test", dialect="hermes", reward="paper", max_turns=5).unwrapped)
    short = gym.make(f"tir_gym:{id.removeprefix('tir_gym/')}")
    assert type(short.unwrapped) is type(gym.make(id).unwrapped)


@pytest.mark.parametrize("id", IDS)
def test_spec_round_trip(id: str) -> None:
    env = gym.make(id, split="test", reward="outcome", max_turns=4)
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.reward == env.unwrapped.reward
    first, second = env.reset(seed=3)[0], again.reset(seed=3)[0]
    assert first == second


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments_play_what_single_ones_play(id: str, mode: str) -> None:
    kwargs = {"shared_memory": False} if mode == "async" else {}
    vector = gym.make_vec(
        id,
        num_envs=3,
        vectorization_mode=mode,
        vector_kwargs={**kwargs, "autoreset_mode": AutoresetMode.NEXT_STEP},
        split="test",
    )
    try:
        observations, infos = vector.reset(seed=[5, 6, 7])
        singles = [gym.make(id, split="test") for _ in range(3)]
        scripts = []
        for single, seed, observation in zip(singles, (5, 6, 7), observations, strict=True):
            alone, info = single.reset(seed=seed)
            assert alone == observation
            scripts.append([get_dialect("openai").render(*move) for move in info["oracle"].script()])
        assert [oracle.script() for oracle in infos["oracle"]] == [
            single.reset(seed=seed)[1]["oracle"].script() for single, seed in zip(singles, (5, 6, 7), strict=True)
        ]
        for step in range(min(map(len, scripts))):
            actions = tuple(script[step] for script in scripts)
            observations, rewards, terminated, truncated, infos = vector.step(actions)
            alone_steps = [single.step(action) for single, action in zip(singles, actions, strict=True)]
            assert list(observations) == [alone[0] for alone in alone_steps]
            np.testing.assert_allclose(rewards, [alone[1] for alone in alone_steps])
            assert terminated.tolist() == [alone[2] for alone in alone_steps]
            assert not truncated.any()
            assert list(infos["match"]) == [alone[4]["match"] for alone in alone_steps]
    finally:
        vector.close()


def test_spaces_do_not_depend_on_the_task_and_are_seeded() -> None:
    one, other = NotebookEnv(task="move"), NotebookEnv(task="ask", dialect="json")
    assert one.action_space == other.action_space
    assert one.observation_space == other.observation_space
    one.action_space.seed(1)
    other.action_space.seed(1)
    assert [one.action_space.sample() for _ in range(20)] == [other.action_space.sample() for _ in range(20)]
    assert "x" * 10_000_000 in one.action_space
    assert 5 not in one.action_space
    assert one.reset()[0] in one.observation_space
    assert ("no dict",) not in one.observation_space


# Playing


@pytest.mark.parametrize("dialect", ["openai", "hermes", "json"])
@pytest.mark.parametrize("name", ["move", "count", "ask", "refuse"])
def test_the_oracle_succeeds(name: str, dialect: str) -> None:
    env = NotebookEnv(task=name, dialect=dialect)
    rewards, info = play_oracle(env)
    assert info["success"] is True
    assert info["ending"] == ("refusal" if name == "refuse" else "answer")
    assert sum(rewards) == pytest.approx(len(env.task.gold.calls) + 1)
    assert len(info["turn_rewards"]) == len(rewards)


def test_parallel_calls_are_one_turn_and_ids_come_back() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    observation, reward, *_ = env.step(act(("list_notes", {"owner": "ann"}), ("list_notes", {"owner": "bob"})))
    assert [message["role"] for message in observation] == ["tool", "tool"]
    assert [message["tool_call_id"] for message in observation] == ["call_0", "call_1"]
    assert json.loads(observation[0]["content"]) == {
        "notes": [{"note_id": "n1", "text": "milk"}, {"note_id": "n2", "text": "bread"}]
    }
    assert reward == pytest.approx(1.0 - 0.05)


def test_a_conflict_in_one_turn_is_a_tool_error() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    delete = ("delete_note", {"owner": "ann", "note_id": "n1"})
    observation, *_ = env.step(act(delete, delete))
    assert "error" in json.loads(observation[1]["content"])
    assert env.sandbox.diff()["notes/ann"]["n1"]["after"] is None


@pytest.mark.parametrize(
    ("action", "word"),
    [
        (act(("nope", {})), "no tool named"),
        (act(("add_note", {"owner": 5})), "argument `owner`"),
        ({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "not valid JSON"),
        ({"content": None, "tool_calls": 7}, "must be a list"),
        (None, "an action is text"),
        ({"content": None, "tool_calls": [{1, 2}]}, "an action is text"),
    ],
)
def test_a_bad_action_is_data(action: Any, word: str) -> None:
    env = NotebookEnv(task="move")
    env.reset()
    observation, reward, terminated, truncated, info = env.step(action)
    assert word in observation[0]["content"]
    assert observation[0]["role"] == "tool"
    assert reward == pytest.approx(-0.05)
    assert not terminated
    assert not truncated
    assert "success" not in info


def test_a_malformed_call_in_text_is_answered_not_ended() -> None:
    env = NotebookEnv(task="move", dialect="hermes")
    env.reset()
    observation, _, terminated, _, _ = env.step("<tool_call>{oops</tool_call>")
    assert "not valid JSON" in observation[0]["content"]
    assert not terminated
    assert env.trace().turns[0].malformed


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=30) | st.recursive(st.none() | st.text(), st.lists) | st.dictionaries(
    st.sampled_from(["content", "tool_calls", "refusal", "role"]),
    st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)),
), max_size=5))  # fmt: skip
def test_no_action_raises(actions: list[Any]) -> None:
    env = NotebookEnv(task="ask", dialect="json")
    env.reset()
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        assert observation in env.observation_space
        assert isinstance(reward, float)
        if terminated or truncated:
            break


def test_asking_for_the_slot_brings_the_reply_and_counts() -> None:
    env = NotebookEnv(task="ask")
    env.reset()
    observation, reward, terminated, *_ = env.step("What should it say?")
    assert observation == ({"role": "user", "content": "Write tea."},)
    assert (reward, terminated) == (0.0, False)
    env.step(act(("add_note", {"owner": "bob", "text": "tea"})))
    *_, info = env.step("Done.")
    assert info["checks"] == {"asked:text": True, "state": True}
    assert info["success"]


def test_guessing_instead_of_asking_fails() -> None:
    env = NotebookEnv(task="ask")
    env.reset()
    env.step(act(("add_note", {"owner": "bob", "text": "tea"})))
    *_, terminated, _, info = env.step("I wrote some text.")
    assert terminated
    assert info["checks"] == {"asked:text": False, "state": True}
    assert not info["success"]


def test_a_refusal_must_be_marked_and_change_nothing() -> None:
    env = NotebookEnv(task="refuse")
    env.reset()
    *_, info = env.step("There is no Zoe.")
    assert not info["success"]
    env.reset()
    env.step(act(("add_note", {"owner": "zoe", "text": "hi"})))
    *_, info = env.step("CANNOT: there is no Zoe.")
    assert info["checks"] == {"refused": True, "unchanged": False}


def test_an_answer_ends_the_episode_and_is_paid_once() -> None:
    env = NotebookEnv(task="count")
    env.reset()
    _, reward, terminated, truncated, info = env.step("<answer>2</answer>")
    assert (terminated, truncated, info["success"]) == (True, False, True)
    assert reward == pytest.approx(1.0)
    with pytest.raises(UsageError, match="the episode has ended \\(answer\\); call reset"):
        env.step("<answer>2</answer>")


def test_a_valid_other_path_gets_the_outcome() -> None:
    env = NotebookEnv(task="move", reward="outcome")
    env.reset()
    env.step(act(("delete_note", {"owner": "ann", "note_id": "n1"})))
    env.step(act(("add_note", {"owner": "bob", "text": "milk"})))
    _, reward, _, _, info = env.step("Moved.")
    assert info["success"]
    assert reward == 1.0


def test_budgets_truncate() -> None:
    env = NotebookEnv(task="move", max_turns=2)
    env.reset()
    look = act(("list_notes", {"owner": "ann"}))
    assert env.step(look)[3] is False
    _, _, terminated, truncated, info = env.step(look)
    assert (terminated, truncated) == (False, True)
    assert (info["success"], info["ending"]) == (False, "max_turns")
    many = NotebookEnv(task=make_task("move", limits=TaskLimits(max_calls_per_turn=2)))
    many.reset()
    observation, *_ = many.step(act(*[("list_notes", {"owner": "ann"})] * 3))
    assert "at most 2 calls" in observation[2]["content"]
    late = NotebookEnv(task=make_task("move", limits=TaskLimits(max_seconds=1e-9)))
    late.reset()
    assert late.step(look)[4]["ending"] == "max_seconds"


def test_one_message_can_only_cost_so_much() -> None:
    env = NotebookEnv(task=make_task("move", limits=TaskLimits(max_calls_per_turn=4)), dialect="hermes")
    env.reset()
    assert env.step("<tool_call>" * 5000)[1] == pytest.approx(-4 * 0.05)
    assert env.step(act(*[("nope", {})] * 500))[1] == pytest.approx(-4 * 0.05)
    beyond = [("nope", {})] * 4 + [("list_notes", {"owner": "ann"})]
    paper = NotebookEnv(task=make_task("move", limits=TaskLimits(max_calls_per_turn=4)), reward="paper")
    paper.reset()
    assert paper.step(act(*beyond))[1] == 0.0


def test_a_sandbox_that_breaks_is_a_typed_infrastructure_failure() -> None:
    class Broken(NotebookEnv):
        def make_sandbox(self, task: Task) -> StateSandbox:
            return Unplugged(TOOLS, WORLD, datetime.fromisoformat(task.now))

    class Unplugged(StateSandbox):
        def fork(self) -> StateSandbox:
            return Unplugged(TOOLS, WORLD, self.state.now)

        def run_turn(self, calls: Any) -> Any:
            raise ConnectionError("no route")

    env = Broken(task="move")
    env.reset()
    *_, truncated, info = env.step(act(("list_notes", {"owner": "ann"})))
    assert truncated
    assert info["infra_error"]["kind"] == "sandbox_bug"
    assert "no route" in info["infra_error"]["message"]


@pytest.mark.parametrize("broken", ["diff", "metrics"])
def test_a_sandbox_that_breaks_at_the_end_is_an_infrastructure_failure_too(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise SandboxDied("it is gone")

    env = NotebookEnv(task="move")
    env.reset()
    env.step(act(("list_notes", {"owner": "ann"})))
    monkeypatch.setattr(*((StateSandbox, "diff") if broken == "diff" else (NotebookEnv, "metrics")), gone)
    _, reward, terminated, truncated, info = env.step("Moved.")
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert info["infra_error"]["kind"] == "sandbox_died"
    assert env.trace().success is None
    assert env.trace().turns[-1].reward == 0.0


def test_figures_that_break_at_a_callers_budget_are_an_infrastructure_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Any:
        raise SandboxDied("it is gone")

    env = NotebookEnv(task="move")
    env.reset()
    env.step(act(("list_notes", {"owner": "ann"})))
    monkeypatch.setattr(NotebookEnv, "metrics", gone)
    env.truncate("max_tokens")
    trace = env.trace()
    assert (trace.ending, trace.success, trace.turn_rewards) == ("infra_error", None, ())
    assert trace.infra_error == {"kind": "sandbox_died", "tool": None, "message": "it is gone"}


@pytest.mark.parametrize("name", ["explode", "babble"])
def test_a_tools_bug_is_a_typed_infrastructure_failure(name: str, caplog: pytest.LogCaptureFixture) -> None:
    env = NotebookEnv(task="move")
    env.reset()
    env.step(act(("list_notes", {"owner": "ann"})))
    observation, reward, terminated, truncated, info = env.step(act((name, {})))
    assert (observation, reward, terminated, truncated) == ((), 0.0, False, True)
    assert info["infra_error"]["tool"] == name
    assert info["infra_error"]["kind"] == "tool_bug"
    assert "success" not in info
    trace = env.trace()
    assert trace.success is None
    assert trace.infra_error == info["infra_error"]
    if name == "explode":
        assert "KeyError" in caplog.text
    env.reset()
    assert env.step("Moved.")[2]


def test_match_explains_every_point() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    calls = [("list_notes", {"owner": "bob"}), ("add_note", {"owner": "bob", "text": "milk"}), ("nope", {})]
    *_, info = env.step(act(*calls))
    match = info["match"].to_dict()
    assert [entry["status"] for entry in match["calls"]] == ["matched", "matched", "failed"]
    assert match["calls"][0]["wrong"] == ["owner"]
    assert match["calls"][0]["score"] == pytest.approx(0.1)
    assert match["unmatched_gold"] == [2]
    assert match["parts"] == pytest.approx({"match": 1.1, "failed": -0.05})
    assert match["reward"] == pytest.approx(sum(match["parts"].values()))
    assert pickle.loads(pickle.dumps(info["match"])) == info["match"]


def test_nothing_of_the_gold_shows_in_what_is_printed() -> None:
    env = NotebookEnv(task="move")
    _, info = env.reset()
    assert repr(info["oracle"]) == "<oracle>"
    assert "n1" not in repr(info)


def test_what_is_handed_out_can_be_changed_without_harm() -> None:
    env = NotebookEnv(task="move")
    observation, info = env.reset()
    observation[0]["content"] = "changed"
    info["tools"].clear()
    action = act(("list_notes", {"owner": "ann"}))
    result, *_ = env.step(action)
    action["tool_calls"][0]["function"]["name"] = "changed"
    result[0]["content"] = "changed"
    again, info = env.reset()
    assert again[0]["content"] == "Keep notes."
    assert len(info["tools"]) == 5
    env.step(act(("list_notes", {"owner": "ann"})))
    assert env.trace().turns[0].action["tool_calls"][0]["function"]["name"] == "list_notes"
    assert "milk" in env.trace().turns[0].observation[0]["content"]


def test_messages_made_of_parts_are_handed_out_as_copies() -> None:
    parts = make_task("move", messages=({"role": "user", "content": [{"type": "text", "text": "Please move."}]},))
    env = NotebookEnv(task=parts, render_mode="ansi")
    for _ in range(2):
        observation, _ = env.reset()
        assert observation[0]["content"] == [{"type": "text", "text": "Please move."}]
        observation[0]["content"].append("changed")
        env.conversation()[0]["content"].append("changed")
        assert "changed" not in (env.render() or "")


def test_a_comparator_that_is_not_there_is_told_at_reset() -> None:
    move = make_task("move")
    loose = move.gold.model_copy(update={"checks": (StateCheck(comparators={"notes.text": "fuzzy"}),)})
    with pytest.raises(UsageError, match="task move, a StateCheck: no comparator 'fuzzy'"):
        NotebookEnv(task=make_task("move", gold=loose)).reset()
    tools = tuple(spec.model_copy(update={"comparators": {"unused": "fuzzy"}}) for spec in move.tools)
    with pytest.raises(UsageError, match="task move, tool add_note: no comparator 'fuzzy'"):
        NotebookEnv(task=make_task("move", tools=tools)).reset()


def test_an_alternatives_own_answer_is_as_good_for_f1() -> None:
    gold = make_task("count").gold
    other = gold.model_copy(update={"checks": (AnswerCheck(value="milk and bread"),)})
    env = NotebookEnv(task=make_task("count", gold=gold.model_copy(update={"alternatives": (other,)})), reward="paper")
    env.reset()
    _, reward, _, _, info = env.step("<answer>bread and milk</answer>")
    assert reward == 1.0
    env.reset()
    _, reward, _, _, info = env.step("<answer>milk and bread</answer>")
    assert (reward, info["success"]) == (1.0, True)


def test_the_conversation_is_one_that_openai_takes() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    env.step(
        {
            "content": None,
            "tool_calls": [
                {"id": "mine", "function": {"name": "list_notes", "arguments": {"owner": "ann"}}},
                {"function": {"name": "list_notes", "arguments": {"owner": "bob"}}},
            ],
        }
    )
    env.step("Done.")
    messages = env.conversation()
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    asked = [call["id"] for call in messages[2]["tool_calls"]]
    assert asked == [message["tool_call_id"] for message in messages[3:5]] == ["mine", "call_0_1"]


def test_an_alternative_that_was_played_is_the_one_that_counts() -> None:
    one_call = tir_gym.GoldTrace(calls=(tir_gym.GoldCall(name="list_notes", arguments={"owner": "zoe"}),))
    task = make_task("move")
    both = task.gold.model_copy(update={"alternatives": (one_call,)})
    env = NotebookEnv(task=make_task("move", gold=both))
    env.reset()
    env.step(act(("list_notes", {"owner": "zoe"})))
    assert env.trace().gold_calls == 1
    env.step(act(("list_notes", {"owner": "ann"}), ("add_note", {"owner": "bob", "text": "milk"})))
    assert env.trace().gold_calls == 3


def test_text_of_numpys_own_type_is_text() -> None:
    env = NotebookEnv(task="count")
    env.reset()
    assert env.step(np.array(["<answer>2</answer>"])[0])[4]["success"]  # type: ignore[arg-type]
    assert type(env.trace().turns[0].action) is str


def test_an_integer_that_json_cannot_carry_is_a_malformed_action() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    observation, *_ = env.step(act(("add_note", {"owner": "x"})) | {"extra": 10**5000})
    assert "an action is text" in observation[0]["content"]
    assert env.trace().canonical()


# Misuse


def test_misuse_is_told_clearly() -> None:
    with pytest.raises(UsageError, match="no split 'dev'"):
        NotebookEnv(split="dev")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no dialect"):
        NotebookEnv(dialect="xml")
    with pytest.raises(UsageError, match="max_turns=0"):
        NotebookEnv(max_turns=0)
    with pytest.raises(UsageError, match="render mode"):
        NotebookEnv(render_mode="human")
    with pytest.raises(UsageError, match="task=5"):
        NotebookEnv(task=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no task 'train/x'"):
        NotebookEnv(task="train/x").reset()
    with pytest.raises(UsageError, match="reset options \\['taks'\\]"):
        NotebookEnv().reset(options={"taks": "move"})
    with pytest.raises(UsageError, match="call reset"):
        NotebookEnv().step("hi")
    with pytest.raises(UsageError, match="call reset"):
        NotebookEnv().snapshot()
    with pytest.raises(ValidationError):
        NotebookEnv(task={"id": "x"})
    with pytest.raises(UsageError, match="checks nothing"):
        NotebookEnv(task=make_task("move", gold=tir_gym.GoldTrace())).reset()


def test_a_task_may_be_an_id_a_record_or_a_dict() -> None:
    task = make_task("count")
    for given_task in ("count", task, task.model_dump(), json.loads(task.model_dump_json())):
        env = NotebookEnv(task=given_task)
        assert play_oracle(env)[1]["success"]
        assert env.reset(options={"task": "move"})[1]["task_id"] == "move"
        assert env.reset()[1]["task_id"] == "count"


def test_render_shows_the_conversation() -> None:
    env = NotebookEnv(task="count", render_mode="ansi")
    play_oracle(env)
    shown = env.render()
    assert "[user] Please count." in (shown or "")
    assert 'list_notes({"owner": "ann"})' in (shown or "")


# Branching


@pytest.mark.parametrize("id", IDS)
def test_a_restored_episode_continues_to_the_same_bytes(id: str) -> None:
    env = gym.make(id, split="test").unwrapped
    assert isinstance(env, ToolEnv)
    _, info = env.reset(seed=11)
    script = [env.dialect.render(*move) for move in info["oracle"].script()]
    for cut in range(len(script)):
        env.reset(seed=11)
        for action in script[:cut]:
            env.step(action)
        snapshot = env.snapshot()
        twin = env.fork()
        other = gym.make(id, split="test").unwrapped
        assert isinstance(other, ToolEnv)
        for action in ("wrong turn", *script[:1]):
            if env.step(action)[2]:
                break
        env.restore(snapshot)
        other.restore(snapshot)
        traces = []
        for branch in (env, twin, other):
            for action in script[cut:]:
                branch.step(action)
            traces.append(branch.trace().model_copy(update={"provenance": env.trace().provenance}).canonical())
        assert traces[0] == traces[1] == traces[2]
        assert env.trace().success


def test_a_snapshot_goes_back_only_where_its_scores_mean_the_same() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    env.step(act(("list_notes", {"owner": "bob"})))
    snapshot = env.snapshot()
    with pytest.raises(UsageError, match="a NotebookEnv with reward 'default', this is a NotebookEnv with reward 'pap"):
        NotebookEnv(task="move", reward="paper").restore(snapshot)
    with pytest.raises(UsageError, match="this is a CalculatorEnv"):
        gym.make("tir_gym/Calculator-v0").unwrapped.restore(snapshot)  # type: ignore[attr-defined]
    other = NotebookEnv(task="ask", dialect="json")
    other.restore(snapshot)
    assert other.trace().turns == env.trace().turns


def test_time_between_a_snapshot_and_its_return_is_not_the_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = TaskLimits(max_seconds=60)
    env = NotebookEnv(task=make_task("move", limits=limits), reward={"seconds": 1.0})
    env.reset()
    snapshot = env.snapshot()
    look = act(("list_notes", {"owner": "ann"}))
    start = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: start + 1000.0)
    env.restore(snapshot)
    _, _, _, truncated, info = env.step(look)
    assert not truncated
    assert info["match"].parts["seconds"] > -60.0
    monkeypatch.setattr(time, "monotonic", lambda: start + 1100.0)
    assert env.step(look)[3]


def test_branches_do_not_see_each_other() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    twin = env.fork()
    twin.step(act(("add_note", {"owner": "bob", "text": "milk"})))
    assert env.sandbox.diff() == {}
    assert twin.sandbox.diff()
    assert env.trace().turns == ()


# Same bytes

_PLAY = """
import sys, gymnasium as gym, tir_gym
env = gym.make(sys.argv[1], split="test").unwrapped
for seed in range(6):
    _, info = env.reset(seed=seed)
    for n, (text, calls) in enumerate(info["oracle"].script()):
        env.step(env.dialect.render(text, calls))
        if env.trace().ending: break
    sys.stdout.buffer.write(env.trace().canonical() + b"\\n" + env.sandbox.digest().encode() + b"\\n")
"""


@pytest.mark.parametrize("id", IDS)
def test_two_processes_write_the_same_bytes(id: str, tmp_path: Path) -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _PLAY, id],
            capture_output=True,
            check=True,
            cwd=tmp_path,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert len(outputs[0]) > 1000
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("name", ["move", "ask", "refuse"])
def test_a_trace_round_trips_through_json(name: str) -> None:
    env = NotebookEnv(task=name)
    play_oracle(env)
    trace = env.trace(agent="oracle")
    again = tir_gym.Trace.model_validate_json(trace.canonical())
    assert again == trace
    assert again.canonical() == trace.canonical()


def test_a_trace_survives_any_text() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    env.step(act(("add_note", {"owner": "bob", "text": "\ud800\x00\u2028 <script>"})))
    env.step("\udfff done")
    assert env.trace().canonical() == env.trace().canonical()


def test_tasks_are_drawn_from_the_seed() -> None:
    env, other = NotebookEnv(), NotebookEnv()
    ids = [env.reset(seed=5)[1]["task_id"], *(env.reset()[1]["task_id"] for _ in range(5))]
    assert ids == [other.reset(seed=5)[1]["task_id"], *(other.reset()[1]["task_id"] for _ in range(5))]
    assert len(set(ids)) > 1
    assert all(id.startswith("test/") for id in [NotebookEnv(split="test").reset(seed=1)[1]["task_id"]])
