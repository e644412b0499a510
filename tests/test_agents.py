"""Agents by name: the oracle succeeds, random does not, noise costs, the user's own class plays, errors say the fix."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tir_gym
from tir_gym.agents import AGENTS, PROBES, Agent, make_agent
from tir_gym.agents.human import read_calls
from tir_gym.agents.local_policy import LocalPolicyAgent
from tir_gym.agents.noisy import _swapped
from tir_gym.agents.ppo.agent import PPOAgent
from tir_gym.agents.sampling import Sampler, fits
from tir_gym.agents.seen import SeenValues
from tir_gym.agents.wrong import WrongValues
from tir_gym.dialects import DIALECTS
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.errors import UsageError
from tir_gym.types import Date, DateTime, TimeOfDay

CALCULATOR = "tir_gym/Calculator-v0"
SHIPPED = [CALCULATOR, "tir_gym/Assistant-v0"]


def make_env(env_id: str = CALCULATOR, **options: Any) -> tir_gym.ToolEnv:
    env = gymnasium.make(env_id, **options).unwrapped
    assert isinstance(env, tir_gym.ToolEnv)
    return env


def play_all(env: tir_gym.ToolEnv, name: str, n: int) -> list[PlayedEpisode]:
    agent = make_agent(name)
    return [play_episode(env, agent, task=task, agent_seed=i, name=name) for i, task in enumerate(env.task_ids(n))]


def success_rate(episodes: list[PlayedEpisode]) -> float:
    return sum(bool(episode.trace.success) for episode in episodes) / len(episodes)


def mean_return(episodes: list[PlayedEpisode]) -> float:
    return sum(turn.reward for episode in episodes for turn in episode.trace.turns) / len(episodes)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("env_id", SHIPPED)
def test_the_oracle_always_succeeds(env_id: str, split: str, dialect: str) -> None:
    env = make_env(env_id, split=split, dialect=dialect)
    episodes = play_all(env, "oracle", 30)
    assert [e.trace.provenance.task_id for e in episodes if not e.trace.success] == []
    for episode in episodes:
        ids = [m["tool_call_id"] for turn in episode.trace.turns for m in turn.observation if m["role"] == "tool"]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("env_id", SHIPPED)
def test_random_rarely_succeeds_and_its_calls_are_valid(env_id: str, split: str) -> None:
    episodes = play_all(make_env(env_id, split=split), "random", 60)
    assert success_rate(episodes) < 0.1
    results = [result for e in episodes for turn in e.trace.turns for result in turn.results]
    assert len(results) > 60
    assert [r.error for r in results if r.error_kind in ("invalid_arguments", "unknown_tool", "malformed")] == []
    assert all(not turn.malformed for e in episodes for turn in e.trace.turns)
    assert any(len(turn.calls) > 1 for e in episodes for turn in e.trace.turns)
    assert {e.trace.ending for e in episodes} >= {"answer"}
    assert len({len(e.trace.turns) for e in episodes}) > 3


@pytest.mark.parametrize("env_id", SHIPPED)
def test_more_noise_earns_less(env_id: str) -> None:
    env = make_env(env_id)
    returns = [mean_return(play_all(env, f"noisy:{p}", 40)) for p in (0, 0.2, 0.5, 1)]
    assert returns[0] == mean_return(play_all(env, "oracle", 40))
    assert returns == sorted(returns, reverse=True)
    assert returns[-1] < 0.8 * returns[0]


def test_noise_of_one_leaves_no_call_of_a_long_task_as_it_was() -> None:
    env = make_env(split="test")
    faults: set[str] = set()
    for task in env.task_ids(40):
        _, info = env.reset(options={"task": task})
        right = [(call.name, call.arguments) for call in info["oracle"].calls]
        trace = play_episode(env, make_agent("noisy:1"), task=task).trace
        made = [(call.name, call.arguments) for turn in trace.turns for call in turn.calls]
        assert made != right
        faults |= {"drop"} if len(made) < len(right) else set()
        faults |= {"repeat"} if any(made.count(call) > right.count(call) for call in made if call in right) else set()
        faults |= {"wrong"} if any(call not in right for call in made) else set()
        kept = [call for call in made if call in right]
        faults |= {"swap"} if kept != sorted(kept, key=right.index) else set()
    assert faults == {"drop", "repeat", "wrong", "swap"}


def test_a_swap_reaches_across_messages() -> None:
    a, b, c = (tir_gym.ToolCall(name) for name in "abc")
    script = [("", (a, b)), ("Which?", ()), ("", (c,))]
    assert _swapped(script, [(0, 1)]) == [("", (a, c)), ("Which?", ()), ("", (b,))]
    assert _swapped(script, [(2, 0)]) == [("", (a, c)), ("Which?", ()), ("", (b,))]
    assert _swapped([("", (a,))], [(0, 0)]) == [("", (a,))]


@pytest.mark.parametrize("name", ["random", "noisy:0.5", *(f"probe:{probe}" for probe in PROBES)])
def test_same_seed_same_actions(name: str) -> None:
    env = make_env(split="test")
    first, again, other = (
        play_episode(env, make_agent(name), task="test/3", agent_seed=seed).trace.canonical() for seed in (5, 5, 6)
    )
    assert first == again
    assert name != "random" or first != other


def test_same_actions_in_another_process() -> None:
    code = (
        "import gymnasium, tir_gym, hashlib; from tir_gym.agents import make_agent;"
        "from tir_gym.episode import play_episode;"
        f"env = gymnasium.make('{CALCULATOR}').unwrapped;"
        "print([hashlib.sha256(play_episode(env, make_agent(n), task='train/1').trace.canonical()).hexdigest()"
        " for n in ('random', 'noisy:0.7', 'probe:dump', 'probe:every-tool')])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_only_agents_that_need_gold_are_given_it() -> None:
    class Watcher:
        needs_gold = False
        keys: set[str] = set()  # noqa: RUF012

        def begin(self, env_info: dict[str, Any]) -> None:
            self.keys |= set(env_info)

        def act(self, observation: Any, info: dict[str, Any]) -> str:
            self.keys |= set(info)
            return "done"

    watcher = Watcher()
    play_episode(make_env(), watcher, task="train/0")
    assert not watcher.keys & {"oracle", "match"}
    gold = {name for name in (*AGENTS, *(f"probe:{p}" for p in PROBES)) if _needs_gold(name)}
    assert gold == {"oracle", "noisy"} | {f"probe:{p}" for p in ("repeat", "first", "wrong-args")}


def _needs_gold(name: str) -> bool:
    trained = {"policy": LocalPolicyAgent, "ppo": PPOAgent}  # made of a folder that something trained has written
    if name in trained:
        return trained[name].needs_gold
    whole = {"noisy": "noisy:0.1", "probe": "probe:nothing", "llm": "llm:m@http://127.0.0.1:1/v1"}.get(name, name)
    return name != "python" and bool(getattr(make_agent(whole), "needs_gold", False))


# Sampling.


class Place(pydantic.BaseModel):
    city: str
    floor: int | None = None


Phone = Annotated[str, pydantic.Field(min_length=3, max_length=9)]


@tir_gym.tool
def zoo(
    text: str,
    moment: DateTime,
    day: Date,
    hour: TimeOfDay,
    count: int,
    ratio: float,
    flag: bool,
    kind: Literal["a", "b"],
    only: Literal["x"],
    maybe: DateTime | None,
    either: int | str,
    names: list[str],
    pair: tuple[int, str],
    place: Place,
    places: list[Place],
    scores: dict[str, float],
    rank: Annotated[int, pydantic.Field(ge=5, lt=9)],
    share: Annotated[float, pydantic.Field(gt=0, le=1)],
    step: Annotated[int, pydantic.Field(multiple_of=7, ge=10)],
    few: Annotated[list[int], pydantic.Field(min_length=2, max_length=3)],
    phone: Phone,
    later: Date | None = None,
) -> None:
    """One of every kind.

    Args:
        text: Any text.
        maybe: A moment, or none.
    """


SEEN = ["Tom", "2025-01-01", "2025-01-01 10:00:00", 3, 0.5, True, "b", "abcdefghijkl"]


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_sampled_arguments_are_valid(seed: int, reuse: float) -> None:
    sampler = Sampler(random.Random(seed), reuse=reuse)
    schema = zoo.spec.parameters
    arguments = sampler.arguments(schema, SEEN)
    zoo.validate(arguments)
    assert fits(schema, arguments)
    assert sampler.arguments(schema, SEEN, optional=0.0).keys() == set(schema["required"])


@given(st.sampled_from(sorted(zoo.spec.parameters["properties"])), st.sampled_from([*SEEN, "09:30:00", None, [], {}]))
def test_what_fits_is_what_the_tool_takes(name: str, value: Any) -> None:
    """`fits` may be stricter about formats that only the tool can check, never laxer on shipped kinds of schema."""
    arguments = Sampler(random.Random(0)).arguments(zoo.spec.parameters, optional=0.0)
    if fits(zoo.spec.parameters["properties"][name], value):
        assert name in zoo.validate({**arguments, name: value})


def test_values_seen_are_reused() -> None:
    sampler = Sampler(random.Random(0), reuse=1.0)
    properties = zoo.spec.parameters["properties"]
    assert sampler.value(properties["moment"], SEEN) == "2025-01-01 10:00:00"
    assert sampler.value(properties["day"], SEEN) == "2025-01-01"
    assert sampler.value(properties["kind"], SEEN) == "b"
    assert sampler.value(properties["count"], SEEN) == 3
    assert sampler.value(properties["flag"], SEEN) is True


def test_seen_values_come_from_results_and_from_what_stands_out_in_text() -> None:
    seen = SeenValues()
    seen.add(
        [
            {"role": "system", "content": "Today is 2020-02-02."},
            {"role": "user", "content": 'Tell Ann Lee (ann@x.org, 555-123-4567) "see you" at 10:30:00, 3 times.'},
            {"role": "tool", "content": '{"id": "a1", "found": [{"n": 1.5, "ok": true}], "none": null}'},
            {"role": "tool", "content": "true"},
        ]
    )
    assert list(seen) == ["Tell Ann Lee", "ann@x.org", "555-123-4567", "see you", "10:30:00", 3, "a1", 1.5, True]


@given(st.integers(0, 10**6))
def test_wrong_arguments_are_wrong_for_every_gold_call(seed: int) -> None:
    env = make_env(split="test")
    _, info = env.reset(options={"task": "test/0"})
    oracle = info["oracle"]
    rights = {(c.name, name): [g.arguments[name] for g in oracle.calls if g.name == c.name]
              for c in oracle.calls for name in c.arguments}  # fmt: skip
    wrong = WrongValues(random.Random(seed), oracle)
    for call in oracle.calls:
        all_wrong, one_wrong = wrong.all(call), wrong.one(call)
        assert all_wrong is not None
        assert one_wrong is not None
        assert all(value not in rights[call.name, name] for name, value in all_wrong.arguments.items())
        assert sum(one_wrong.arguments[name] != value for name, value in call.arguments.items()) == 1
    assert wrong.all(tir_gym.ToolCall("add")) is None


# The user's own class.

OWN = """
from neighbour import WORDS
RUNS = []
RUNS.append(1)

class Mine:
    def __init__(self, words=WORDS):
        self.words = words
    def begin(self, env_info):
        self.usage = {"prompt_tokens": 1}
    def act(self, observation, info):
        return self.words

class Lacking:
    def begin(self, env_info): ...

NUMBER = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an agent in it, which is the current one."""
    (tmp_path / "mine_agents.py").write_text(OWN)
    (tmp_path / "neighbour.py").write_text("WORDS = 'from next door'\n")
    (tmp_path / "broken_agents.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield tmp_path
    for name in ("mine_agents", "neighbour", "broken_agents"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("source", ["mine_agents", "mine_agents.py", "./mine_agents.py"])
def test_the_user_s_own_class_plays(own: Path, source: str) -> None:
    played = play_episode(make_env(), make_agent(f"python:{source}:Mine"), task="train/0")
    assert played.trace.turns[0].text == "from next door"
    assert played.usage == {"prompt_tokens": 1}
    assert make_agent(f"python:{source}:Mine", words="x").act((), {}) == "x"  # type: ignore[comparison-overlap]


def test_a_file_runs_once_however_many_agents_come_from_it(own: Path) -> None:
    agents = [make_agent(f"python:{own}/mine_agents.py:Mine") for _ in range(3)]
    module = sys.modules[type(agents[0]).__module__]
    assert module.RUNS == [1]
    assert len({type(agent) for agent in agents}) == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere:Mine", "no module 'nowhere'"),
        ("nowhere.py:Mine", "no file"),
        ("mine_agents:Yours", "no 'Yours'; its classes are: Lacking, Mine"),
        ("mine_agents:Lacking", "lacks act"),
        ("mine_agents:NUMBER", "is a int"),
        ("mine_agents", "write python:MODULE:CLASS"),
        ("broken_agents:Mine", "No module named 'nowhere_to_be_found'"),
        ("broken_agents.py:Mine", "No module named 'nowhere_to_be_found'"),
    ],
)
def test_what_is_wrong_with_the_user_s_class_is_said(own: Path, target: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        make_agent(f"python:{target}")
    assert words in str(error.value)


def test_options_that_the_user_s_class_does_not_take_are_named(own: Path) -> None:
    with pytest.raises(UsageError, match="wrds"):
        make_agent("python:mine_agents:Mine", wrds=1)


# A person.


def human(typed: str) -> tuple[Agent, io.StringIO]:
    screen = io.StringIO()
    return make_agent("human", source=io.StringIO(typed), screen=screen), screen


def test_a_person_plays_by_typing() -> None:
    env = make_env(dialect="hermes")
    env.reset(options={"task": "train/0"})
    typed = ["help", "tools", "tools add", "", "add a=1 b=2", 'add {"a": 1, "b": 2} ; multiply a=3 b=4', "It is 3."]
    agent, screen = human("\n".join(typed) + "\n")
    trace = play_episode(env, agent, task="train/0").trace
    assert [[(c.name, c.arguments) for c in turn.calls] for turn in trace.turns] == [
        [("add", {"a": 1, "b": 2})],
        [("add", {"a": 1, "b": 2}), ("multiply", {"a": 3, "b": 4})],
        [],
    ]
    assert trace.turns[-1].text == "It is 3."
    assert trace.infra_error is None
    shown = screen.getvalue()
    assert f"[user] {trace.messages[1]['content']}\n" in shown
    assert "multiply a b" in shown
    assert '"description": "First number."' in shown
    assert "[add] 3.0" in shown
    assert "\x1b[" not in shown  # no colours where no terminal is


def test_a_slip_is_no_answer() -> None:
    agent, screen = human("ad a=1 b=2\nadd a=1 b 2\nadd {\nadd a=1 ; what\nsay add nothing\n")
    trace = play_episode(make_env(), agent, task="train/0").trace
    assert [turn.text for turn in trace.turns] == ["add nothing"]
    assert "no tool named ad; did you mean add" in screen.getvalue()
    assert "cannot read 'b 2'" in screen.getvalue()
    assert "not valid JSON" in screen.getvalue()


def test_the_end_of_input_is_not_scored() -> None:
    agent, _ = human("add a=1 b=2\n")
    trace = play_episode(make_env(), agent, task="train/0").trace
    assert trace.success is None
    assert trace.infra_error is not None
    assert trace.infra_error["kind"] == "agent_failure"


def test_typed_values_are_read_by_the_schema() -> None:
    tools = {"zoo": {"name": "zoo", "parameters": zoo.spec.parameters}}
    line = """zoo text=7 count=7 ratio=1e3 flag=true names=["a"] moment="2025-01-01 10:00:00" day='2025-01-01' """
    line += """maybe=null either=5 kind=a;b"""
    with pytest.raises(UsageError, match="expected the name of a tool at 'b'"):
        read_calls(line, tools)
    (call,) = read_calls(line.removesuffix(";b"), tools)
    assert call.arguments == {
        "text": "7",
        "count": 7,
        "ratio": 1000.0,
        "flag": True,
        "names": ["a"],
        "moment": "2025-01-01 10:00:00",
        "day": "2025-01-01",
        "maybe": None,
        "either": "5",
        "kind": "a",
    }


# Names.


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("orcale", "did you mean oracle?"),
        ("repeat", "did you mean probe:repeat?"),
        ("zzz", "there are: oracle, random, noisy:P"),
        ("noisy", "write noisy:P"),
        ("noisy:abc", "write noisy:P"),
        ("noisy:1.5", "from 0 to 1"),
        ("noisy:nan", "from 0 to 1"),
        ("probe:", "write probe:NAME"),
        ("probe:repaet", "did you mean probe:repeat?"),
        ("oracle:1", "takes no parameter"),
        ("llm:foo", "write llm:MODEL@BASE_URL"),
        ("", "there are: oracle"),
    ],
)
def test_a_name_that_is_none_says_what_to_write(name: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        make_agent(name)
    assert words in str(error.value)


@pytest.mark.parametrize("name", ["oracle", "random", "noisy:0.1", "probe:first", "llm:m@http://h/v1"])
def test_an_unknown_option_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="temprature is unknown"):
        make_agent(name, temprature=1)
