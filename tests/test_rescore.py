"""Rescoring a recorded episode gives what playing the same actions under that reward would have given."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from notebook import NotebookEnv

import tir_gym
from tir_gym.agents import make_agent
from tir_gym.cli import main
from tir_gym.episode import play_episode
from tir_gym.making import make_env
from tir_gym.rescore import rescore
from tir_gym.rewards import PRESETS

SPECS: list[Any] = [*PRESETS, {"matching": "ordered", "used": 0.5, "succeeded": 0.1, "characters": 0.2, "invalid": 0.3}]


def bare(trace: tir_gym.Trace) -> bytes:
    """The canonical bytes, less the reward that its provenance names."""
    return trace.model_copy(update={"provenance": trace.provenance.model_copy(update={"env_kwargs": {}})}).canonical()


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("agent", ["oracle", "noisy:0.6", "random"])
def test_rescoring_equals_playing_under_that_reward(agent: str, spec: Any) -> None:
    family = "tir_gym/Assistant-v0"
    played, paid = make_env(family, split="test"), make_env(family, split="test", reward=spec)
    for task in played.task_ids(6):
        once = play_episode(played, make_agent(agent), task=task, agent_seed=3).trace
        again = play_episode(paid, make_agent(agent), task=task, agent_seed=3).trace
        assert bare(rescore(once, played, spec)) == bare(again)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_user_who_was_asked_and_a_budget_that_ran_out_are_rescored_too(spec: Any) -> None:
    for task, max_turns in (("ask", None), ("move", 2), ("refuse", None)):
        traces = []
        for reward in ("default", spec):
            env = NotebookEnv(task=task, reward=reward, max_turns=max_turns)
            traces.append(play_episode(env, make_agent("oracle"), task=task).trace)
        assert bare(rescore(traces[0], NotebookEnv(task=task), spec)) == bare(traces[1])


def test_an_infrastructure_failure_stays_one() -> None:
    env = NotebookEnv(task="move")
    env.reset()
    env.step(env.dialect.render("", [tir_gym.ToolCall("list_notes", {"owner": "ann"})]))
    env.step(env.dialect.render("", [tir_gym.ToolCall("explode")]))
    trace = rescore(env.trace(), env, "paper")
    assert trace.infra_error == env.trace().infra_error
    assert trace.turn_rewards == ()
    assert [turn.reward for turn in trace.turns] == [1.0, 0.0]


def test_the_command_makes_a_new_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = partial(_run, capsys, "--store", str(tmp_path / "s.db"), "--json")
    run("eval", "tir_gym/Calculator-v0", "--agent", "noisy:0.5", "-n", "12", "--run", "a")
    done = run("rescore", "a", "--reward", "outcome")
    assert done["run"] == "a.outcome"
    assert done["summary"]["episodes"] == 12
    played = run(
        "eval", "tir_gym/Calculator-v0", "--agent", "noisy:0.5", "-n", "12", "--run", "b", "--reward", "outcome"
    )
    assert done["summary"]["mean_return"]["value"] == pytest.approx(played["return"])
    custom = run("rescore", "a", "--reward", '{"match": 0.0, "outcome": 2.0}', "--run", "c")
    assert custom["summary"]["mean_return"]["value"] == pytest.approx(2 * done["summary"]["mean_return"]["value"])
    names = {row["name"]: row["config"] for row in run("runs")["runs"]}
    assert names["c"]["rescored_from"] == "a"
    assert names["c"]["reward"]["outcome"] == 2.0


@pytest.mark.parametrize("reward", ["best", "{oops"])
def test_a_wrong_reward_is_one_line(reward: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "s.db")
    assert main(["eval", "tir_gym/Calculator-v0", "--agent", "oracle", "-n", "1", "--run", "a", "--store", store]) == 0
    capsys.readouterr()
    assert main(["rescore", "a", "--reward", reward, "--store", store]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    options, command = arguments[:3], arguments[3:]
    assert main([*command, *options]) == 0
    return json.loads(capsys.readouterr().out)
