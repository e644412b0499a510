"""Traces that were edited, from which something is missing or of another kind: every command says so in one line."""

from __future__ import annotations

import copy
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import tiny_agents

from tir_gym.agents import make_agent
from tir_gym.cli import main
from tir_gym.env import ToolEnv
from tir_gym.episode import play_episode
from tir_gym.making import make_env
from tir_gym.records import Trace
from tir_gym.store import open_store
from tir_gym.store.whole import demand_whole

GONE = object()
CALCULATOR = "tir_gym/Calculator-v0"

BREAKS: dict[str, tuple[str, Any, str]] = {
    "no role": ("messages/1/role", GONE, "messages/1: a message without role"),
    "role": ("turns/0/observation/0/role", 7, "turns/0/observation/0/role: 7 is no text"),
    "no content": ("messages/0/content", GONE, "messages/0: a message of role 'system' without content"),
    "content": ("turns/0/observation/0/content", {"a": 1}, "turns/0/observation/0/content: {'a': 1} is no text"),
    "no call id": ("turns/0/observation/0/tool_call_id", GONE, "a message of role 'tool' without tool_call_id"),
    "no tool name": ("turns/0/observation/0/name", GONE, "2 tool messages with a name for 3 calls"),
    "no answers": ("turns/0/observation", GONE, "0 tool messages with a name for 3 calls"),
    "no credit": ("turn_rewards", GONE, "turn_rewards: 0 for 5 turns"),
}
"""What may be looked at and replayed, and neither paid again nor learned from: place, value, what is said."""

TORN: dict[str, tuple[str, Any, str]] = {
    "no messages": ("messages", GONE, "messages: Field required"),
    "no results": ("turns/0/results", GONE, "turns/0: 0 results for 3 calls"),
    "call": ("turns/0/calls/0", {"a": 1}, "unexpected keyword argument 'a'"),
    "no name": ("turns/0/calls/0/name", GONE, "missing 1 required positional argument: 'name'"),
    "results": ("turns/0/results/0", [], "turns/0/results/0"),
    "turns": ("turns", "x", "turns: "),
    "seed": ("provenance/seed", -7, "provenance/seed"),
    "no environment": ("provenance/env_id", GONE, "provenance/env_id: Field required"),
}
"""What is no trace at all."""

USES = {
    "rescore": ["rescore", "run", "--reward", "paper-soft"],
    "openai": ["export", "run", "--format", "openai"],
    "sharegpt": ["export", "run", "--format", "sharegpt"],
    "atif": ["export", "run", "--format", "atif"],
    "parquet": ["export", "run", "--format", "parquet"],
}
LOOKS = {"replay": ["replay", "--run", "run"], "report": ["report", "run"]}


@pytest.fixture(scope="module")
def trace() -> dict[str, Any]:
    env = make_env(CALCULATOR, split="test")
    return dict(play_episode(env, make_agent("oracle"), task=env.task_ids(1)[0]).trace.model_dump(mode="json"))


def stored(trace: dict[str, Any], edit: tuple[str, Any, str], folder: Path) -> str:
    """A store with one episode, its trace edited."""
    where = folder / "runs.db"
    env = make_env(CALCULATOR, split="test")
    with open_store(where) as store:
        run = store.begin_run("run", {"env_id": CALCULATOR})
        run.record(play_episode(env, make_agent("oracle"), task=trace["provenance"]["task_id"]), repeat=0)
    with sqlite3.connect(where) as database:
        database.execute("update traces set trace = ?", [json.dumps(edited(trace, *edit[:2]))])
    return str(where)


def edited(trace: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    whole = copy.deepcopy(trace)
    place: Any = whole
    for part in way:
        place = place[part]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return whole


def said(words: list[str], store: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    out = ["-o", str(Path(store).with_suffix(".out"))] if words[0] in ("export", "report") else []
    code = main([*words, *out, "--store", store])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", BREAKS)
def test_what_does_not_fit_together_is_neither_paid_again_nor_learned_from(
    name: str, trace: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stored(trace, BREAKS[name], tmp_path)
    for use, words in USES.items():
        code, err = said(words, store, capsys)
        assert code == 2, use
        assert err.count("\n") == 1
        assert f"the episode of task {trace['provenance']['task_id']}, repeat 0: " in err
        assert BREAKS[name][2] in err, use
    for look, words in LOOKS.items():
        code, err = said(words, store, capsys)
        assert code in (0, 1), (look, err)


@pytest.mark.parametrize("name", TORN)
def test_what_is_no_trace_is_told_by_whoever_reads_it(
    name: str, trace: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = stored(trace, TORN[name], tmp_path)
    for use, words in (USES | LOOKS).items():
        code, err = said(words, store, capsys)
        assert code == 2, (use, err)
        assert err.count("\n") == 1
        assert f"task {trace['provenance']['task_id']}, repeat 0: no trace: " in err
        assert TORN[name][2] in err, use
    file = str(tmp_path / "runs.jsonl")
    assert main(["export", "run", "-o", file, "--store", store]) == 0
    capsys.readouterr()
    for words in (["import", file, "--run", "again", "--store", store], ["replay", file]):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert "line 1: no trace: " in err
        assert TORN[name][2] in err


def test_what_environments_record_is_whole() -> None:
    traces: list[Trace] = []
    for env_id in ("tir_gym/Assistant-v0", CALCULATOR, "tir_gym/Lookup-v0"):
        env: ToolEnv = make_env(env_id, split="test", max_turns=4)
        for agent in (make_agent("oracle"), make_agent("noisy:0.6"), make_agent("random"), tiny_agents.Down()):
            traces += [play_episode(env, agent, task=task, agent_seed=1).trace for task in env.task_ids(4)]
    for trace in traces:
        demand_whole(trace)
    assert {trace.ending for trace in traces} >= {"answer", "max_turns", "infra_error"}
