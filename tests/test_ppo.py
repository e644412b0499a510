"""The agent without a language model: actions that can always be played, a vector that tells what is needed to play."""

from __future__ import annotations

import random
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from tir_gym.agents import make_agent
from tir_gym.agents.ppo import DiscreteTools, Discretiser
from tir_gym.agents.ppo.discretiser import SEND
from tir_gym.agents.ppo.training import PPOConfig, read_about, train
from tir_gym.cli import main
from tir_gym.cli.exits import USAGE
from tir_gym.episode import play_episode
from tir_gym.errors import UsageError
from tir_gym.making import make_env

LOOKUP: dict[str, Any] = {"hops": (1, 3), "branches": 1, "distractors": 0}
FAMILIES = ("Assistant-v0", "Calculator-v0", "Files-v0", "Lookup-v0", "Search-v0")

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "note": {"type": "string"}, "b": {"type": "number"}},
            "required": ["a", "b"],
        },
    },
}
NOW = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


def said(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


def lookup(**options: Any) -> DiscreteTools:
    return DiscreteTools(make_env("tir_gym/Lookup-v0", **(LOOKUP | options)), slots=8, mentions=8)


@pytest.mark.parametrize("check", [partial(check_env, skip_render_check=True), check_env_for_sb3])
def test_the_wrapper_is_an_environment_as_gymnasium_and_sb3_want_them(check: Any) -> None:
    env = DiscreteTools(gymnasium.make("tir_gym/Lookup-v0", **LOOKUP))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a wrapper
        check(env)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_mask_allows_is_never_a_wrong_call(family: str) -> None:
    env = DiscreteTools(make_env(f"tir_gym/{family}"), answer_values=2)
    rng = random.Random(family)
    calls = 0
    for seed in range(5):
        env.reset(seed=seed)
        over = False
        while not over:
            mask = env.action_masks()
            assert mask.any()
            features, _, terminated, truncated, info = env.step(rng.choice(np.flatnonzero(mask).tolist()))
            over = terminated or truncated
            assert not info["invalid_action"]
            assert env.observation_space.contains(features)
        for turn in env.unwrapped.trace().turns:
            calls += len(turn.calls)
            assert not {r.error_kind for r in turn.results} & {"invalid_arguments", "unknown_tool"}, turn
    assert calls


def test_what_the_mask_forbids_is_played_and_told() -> None:
    """Without masks an algorithm must be able to go on, and the environment must see the mistake."""
    env = lookup()
    wrong = 0
    for seed in range(20):
        env.reset(seed=seed)
        rng = random.Random(seed)
        over = False
        while not over:
            action = rng.randrange(env.action_space.n)
            forbidden = not env.action_masks()[action]
            _, _, terminated, truncated, info = env.step(action)
            assert info["invalid_action"] == forbidden
            over = terminated or truncated
        results = [result for turn in env.unwrapped.trace().turns for result in turn.results]
        wrong += sum(result.error_kind == "invalid_arguments" for result in results)
    assert wrong


def test_the_gold_can_be_played_by_the_newest_value() -> None:
    """On a single chain slot 0 is all that is needed: the start of the chain first, then what came back last."""
    env = lookup(distractors=2)
    for seed in range(10):
        _, info = env.reset(seed=seed)
        starts = {name: 1 + 8 + 8 * i for i, name in enumerate(env.discretiser.tools)}
        for _, calls in info["oracle"].script():
            _, _, terminated, _, info = env.step(starts[calls[0].name] if calls else 1)
        assert terminated
        assert info["success"]


def test_a_call_of_several_arguments_is_made_value_by_value() -> None:
    discrete = Discretiser([ADD, NOW], slots=3)
    discrete.begin(said('What is 2 and 5 of "x"?'), ["add", "now"])
    # Slots hold the newest first: "x", 5, 2. Text fits no number.
    first_add, now = 4, 7
    assert np.flatnonzero(discrete.mask()).tolist() == [SEND, 1, 2, 3, 5, 6, now]
    assert discrete.choose(first_add + 2) is None
    assert np.flatnonzero(discrete.mask()).tolist() == [2, 3]
    assert discrete.choose(2) == ("", (_call("add", a=2, b=5),))
    discrete.hear(({"role": "tool", "content": "7"},))
    assert discrete.choose(now) == ("", (_call("now"),))
    discrete.hear(({"role": "tool", "content": '{"error": "no clock at 12:00"}'},))
    assert discrete.choose(1) == ("7", ()), "an error's words are no values"


def test_an_answer_of_several_values_and_none() -> None:
    discrete = Discretiser([NOW], slots=4, answer_values=2)
    discrete.begin(said("What are 3 and 4?"), ["now"])
    assert discrete.choose(SEND) == ("Done.", ())
    assert discrete.choose(2) is None
    assert discrete.choose(1) == ("3, 4", ())
    assert discrete.choose(2) is None
    assert discrete.choose(SEND) == ("3", ())


def test_a_tool_that_is_not_offered_cannot_be_called() -> None:
    discrete = Discretiser([ADD, NOW], slots=2)
    discrete.begin(said("2 and 5"), ["add"])
    assert not discrete.mask()[-1]


def _call(name: str, **arguments: Any) -> Any:
    from tir_gym.records import ToolCall

    return ToolCall(name, arguments)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a policy that was trained for a moment."""
    folder = tmp_path_factory.mktemp("ppo") / "policy"
    config = PPOConfig(steps=128, envs=2, horizon=64, minibatch=32, epochs=1, slots=8, mentions=8, hidden=(16,))
    make = partial(make_env, "tir_gym/Lookup-v0", **LOOKUP)
    told: list[int] = []
    train(
        make,
        folder,
        config,
        env_id="tir_gym/Lookup-v0",
        env_options=LOOKUP,
        on_progress=lambda one: told.append(one.steps),
    )
    assert told == [128]
    assert read_about(folder).config == config
    return folder


def test_a_saved_policy_plays_as_it_does_on_the_wrapper(policy: Path) -> None:
    from tir_gym.agents.ppo.agent import PPOAgent

    agent = PPOAgent(str(policy))
    env = lookup(split="test")
    for task in env.unwrapped.task_ids(5):
        played = play_episode(env.unwrapped, agent, task=task)
        assert played.usage["actions"] >= 1
        assert played.usage["invalid_actions"] == 0
        features, _ = env.reset(options={"task": task})
        over = False
        while not over:
            import torch

            with torch.no_grad():
                distribution = agent._network.get_distribution(torch.from_numpy(features)[None], env.action_masks())
            features, _, terminated, truncated, _ = env.step(int(distribution.mode()))
            over = terminated or truncated
        assert [t.calls for t in env.unwrapped.trace().turns] == [t.calls for t in played.trace.turns]


def test_the_command_line_plays_it(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "tir_gym/Lookup-v0", "--agent", f"ppo:{policy}", "-n", "3", "--store", str(tmp_path / "s.db")]
    assert main([*arguments, "--env-arg", "hops=1", "--agent-arg", "greedy=false", "--json"]) == 0
    assert '"episodes": 3' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["eval", "tir_gym/Lookup-v0", "--agent", "ppo:nowhere", "-n", "1"], "nowhere holds no ppo.json"),
        (["eval", "tir_gym/Calculator-v0", "--agent", "ppo:POLICY", "-n", "1"], "knows none of the tools"),
        (["train-ppo", "tir_gym/Lookup-v0", "--out", "POLICY"], "holds a policy already"),
        (["train-ppo", "tir_gym/Lookup-v0", "--out", "x", "--ppo-arg", "slot=3"], "there are steps, seed, masked"),
        (["train-ppo", "tir_gym/Lookup-v0", "--out", "x", "--ppo-arg", "slots=0"], "--ppo-arg slots=0"),
    ],
)
def test_mistakes_are_told_in_a_line(
    arguments: list[str], complaint: str, policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--store", str(tmp_path / "s.db")] if arguments[0] == "eval" else []
    assert main([argument.replace("POLICY", str(policy)) for argument in arguments] + store) == USAGE
    assert complaint in capsys.readouterr().err


def test_weights_of_another_shape_are_told(policy: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.pt").write_bytes(b"no weights")
    (tmp_path / "ppo.json").write_bytes((policy / "ppo.json").read_bytes())
    with pytest.raises(UsageError, match="cannot be loaded"):
        make_agent(f"ppo:{tmp_path}")


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="slots=0"):
        Discretiser([NOW], slots=0)
