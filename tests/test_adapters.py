"""What the adapters to other trainers share. Each adapter runs where its trainer is: `make test-trainers`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notebook import NotebookEnv
from tiny_tokenizer import END, TinyTokenizer

from tir_gym.advantages import get_estimator, to_tokens
from tir_gym.agents.adapters.methods import typed_function, typed_method
from tir_gym.agents.adapters.playing import playing
from tir_gym.agents.adapters.tokens import REWARD_ONLY, advantages_of_tokens
from tir_gym.dialects import get_dialect
from tir_gym.env import ToolEnv
from tir_gym.envs.assistant.env import AssistantEnv
from tir_gym.envs.lookup import LookupEnv
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.rollout import TokenOutput, Trajectory

hermes = get_dialect("hermes")


@pytest.fixture(scope="module")
def tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


def played(env: ToolEnv, tokenizer: TinyTokenizer, say: Callable[[int], str], **options: Any) -> Trajectory:
    """An episode in which the policy says `say(turn)`, each token with log-probability -1."""
    episode = playing(env, tokenizer, group_id=0, **options)
    turn = 0
    try:
        next(episode)
        while True:
            ids = np.array([*tokenizer.encode(say(turn)), tokenizer.id(END)], dtype=np.int32)
            turn += 1
            episode.send(TokenOutput(ids=ids, logprobs=-np.ones(len(ids), np.float32), finish="stop", weight_version=3))
    except StopIteration as end:
        trajectory: Trajectory = end.value
        return trajectory


def oracle_of(env: ToolEnv, task: str) -> list[str]:
    _, info = env.reset(options={"task": task})
    return [str(hermes.render(text, calls)) for text, calls in info["oracle"].script()]


@pytest.mark.parametrize("hindsight", [False, True])
def test_an_episode_is_played_as_the_environment_pays_it(tokenizer: TinyTokenizer, hindsight: bool) -> None:
    env = LookupEnv(dialect="hermes", hops=3)
    said = oracle_of(env, "train/5")
    trajectory = played(env, tokenizer, said.__getitem__, task="train/5", hindsight=hindsight)
    assert trajectory.success
    assert trajectory.ending == "answer"
    env.reset(options={"task": "train/5"})
    rewards = []
    for text in said:
        _, reward, _, _, info = env.step(text)
        rewards.append(reward)
    assert trajectory.turn_rewards == (list(info["turn_rewards"]) if hindsight else rewards)
    flat = trajectory.flat()
    assert [tokenizer.decode(flat.response_ids[i : j - 1].tolist()) for i, j in flat.turn_spans] == said
    assert flat.weight_versions.tolist() == [3] * len(said)


def test_no_token_beyond_the_room_is_kept(tokenizer: TinyTokenizer) -> None:
    env = LookupEnv(dialect="hermes", hops=3)
    said = oracle_of(env, "train/5")
    whole = played(env, tokenizer, said.__getitem__, task="train/5").flat()
    for most in range(1, len(whole.response_ids)):
        trajectory = played(env, tokenizer, said.__getitem__, task="train/5", max_response=most)
        kept = trajectory.flat().response_ids
        assert len(kept) <= most
        # What is cut off changes what the environment answers, so only the tokens up to there are the same.
        own = trajectory.flat().turn_spans[-1][0]
        assert kept[:own].tolist() == whole.response_ids[:own].tolist()
        assert trajectory.turns[-1].finish == "length" or trajectory.ending == "max_tokens"
    long = len(whole.prompt_ids)
    assert not played(env, tokenizer, said.__getitem__, task="train/5", max_context=long).turns
    one = played(env, tokenizer, said.__getitem__, task="train/5", max_context=long + 1, hindsight=True)
    assert [len(turn.output_ids) for turn in one.turns] == [1]
    assert one.turn_rewards == [0.0]
    assert (one.truncated, one.success, one.ending) == (True, False, "max_tokens")


def test_what_breaks_an_episode_is_told_with_it(tokenizer: TinyTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    env = NotebookEnv(dialect="hermes")
    breaks = '<tool_call>\n{"name": "explode", "arguments": {}}\n</tool_call>'
    trajectory = played(env, tokenizer, lambda turn: breaks, task="train/0")
    assert trajectory.infra_error is not None
    assert len(trajectory.turns) == 1

    def no_sandbox(task: Any) -> Any:
        raise InfrastructureError("no engine", kind="engine_missing")

    monkeypatch.setattr(env, "make_sandbox", no_sandbox)
    unbegun = played(env, tokenizer, lambda turn: "", task="train/12345")
    assert unbegun.turns == ()
    assert unbegun.infra_error == {"kind": "engine_missing", "tool": None, "message": "no engine"}


rollouts = st.lists(
    st.tuples(
        st.integers(0, 1),  # group
        st.lists(  # turns: tokens after the one before, own tokens, reward
            st.tuples(st.integers(1, 3), st.integers(1, 4), st.floats(-2, 2, width=16)), min_size=1, max_size=4
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(rollouts, st.sampled_from(REWARD_ONLY), st.booleans())
def test_tokens_get_what_their_turns_get(drawn: Any, estimator: str, late: bool) -> None:
    """Laid out as a batch, with the reward at a turn's last token or at the one after, it is as computed by turns."""
    rows = []
    for _, turns in drawn:
        own: list[int] = []
        paid: list[float] = []
        for number, (gap, length, reward) in enumerate(turns):
            own += [-1] * gap + [number] * length
            paid += [0.0] * (gap + length - 1) + [reward]
        rows.append((own, paid))
    width = max(len(own) for own, _ in rows) + 1
    turn_of_token = np.array([own + [-1] * (width - len(own)) for own, _ in rows])
    rewards = np.array([[0.0] * late + paid + [0.0] * (width - len(paid) - late) for _, paid in rows])
    groups = [group for group, _ in drawn]
    found = advantages_of_tokens(estimator, rewards, turn_of_token >= 0, groups)
    by_turn = get_estimator(estimator)([[reward for *_, reward in turns] for _, turns in drawn], groups)
    expected = to_tokens(by_turn, [row.tolist() for row in turn_of_token])
    np.testing.assert_allclose(found, np.array(expected), atol=1e-9)


def test_a_rollout_without_tokens_is_in_no_statistic() -> None:
    rewards, mask = np.zeros((3, 4)), np.zeros((3, 4))
    mask[:2, 1:3], rewards[0, 2], rewards[2, 1] = 1, 1.0, 50.0
    with_it = advantages_of_tokens("dr_grpo", rewards, mask, ["a"] * 3)
    assert with_it.tolist() == [[0, 0.5, 0.5, 0], [0, -0.5, -0.5, 0], [0, 0, 0, 0]]


def test_an_estimator_that_needs_more_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"'gigpo' needs state_keys.*choose one of grpo"):
        advantages_of_tokens("gigpo", np.zeros((1, 1)), np.ones((1, 1)), [0])
    with pytest.raises(UsageError, match=r"got \(1, 2\) and \(1, 1\)"):
        advantages_of_tokens("dual", np.zeros((1, 2)), np.ones((1, 1)), [0])


@pytest.mark.parametrize("env", [LookupEnv(), AssistantEnv()], ids=["lookup", "assistant"])
def test_a_function_has_the_signature_of_its_tool(env: ToolEnv) -> None:
    _, info = env.reset(options={"task": "train/0"})
    for tool in (entry["function"] for entry in info["tools"]):
        seen: list[Any] = []

        def run(name: str, arguments: Any, seen: list[Any] = seen) -> str:
            seen.append((name, dict(arguments)))
            return "done"

        function = typed_function(tool, run)
        schema = tool["parameters"]
        parameters = inspect.signature(function).parameters
        assert list(parameters) == list(schema["properties"])
        needed = [name for name, one in parameters.items() if one.default is inspect.Parameter.empty]
        assert needed == [name for name in schema["properties"] if name in schema.get("required", [])]
        assert tool["description"].split()[0] in str(function.__doc__)
        arguments = dict.fromkeys(needed, "x")
        filled = {name: one.default for name, one in parameters.items() if name not in needed}
        assert function(**arguments, **filled) == "done"
        assert seen == [(tool["name"], arguments)], "a default that is filled in counts as not passed"


def test_a_method_is_given_its_object() -> None:
    tool = {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}

    class Adds:
        add = typed_method(tool, lambda self, name, arguments: f"{self.by + arguments['a']}")
        by = 2

    assert Adds().add(a=3) == "5"
    assert list(inspect.signature(Adds.add).parameters) == ["self", "a"]
    assert list(inspect.signature(Adds().add).parameters) == ["a"]


def test_a_name_that_is_none_in_python_is_refused() -> None:
    tool = {"name": "look-up", "parameters": {"properties": {}}}
    with pytest.raises(UsageError, match="'look-up' cannot be a Python function"):
        typed_function(tool, lambda name, arguments: "")
