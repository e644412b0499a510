"""`tir_gym/Remote-v0`: an ordinary environment whose episodes happen elsewhere, and what it does when that is gone."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("uvicorn", reason="the extra 'server' is not installed: pip install 'tir-gym[server]'")

from serving import http, server_here, server_process

from tir_gym.agents import make_agent
from tir_gym.cli import main
from tir_gym.env import ToolEnv
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.evaluation import evaluate
from tir_gym.making import make_env
from tir_gym.metrics import summarise
from tir_gym.store import open_store

REMOTE, CALCULATOR = "tir_gym/Remote-v0", "tir_gym/Calculator-v0"
PLAYED = ["tir_gym/Assistant-v0", CALCULATOR, "tir_gym/Lookup-v0", "tir_gym/Search-v0", "notebook:NotebookEnv"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with server_here(*PLAYED) as url:
        yield url


@pytest.fixture(scope="module")
def open_url() -> Iterator[str]:
    """Of a server that exposes the gold."""
    with server_here(CALCULATOR, expose_gold=True) as url:
        yield url


def without_gold(info: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in info.items() if key not in ("oracle", "match")}


def script_of(env: ToolEnv, info: dict[str, Any]) -> list[Any]:
    return [env.dialect.render(*move) for move in info["oracle"].script()]


# The same environment


def test_gymnasium_accepts_it(url: str) -> None:
    env = gym.make(REMOTE, url=url, env_id=CALCULATOR)
    check_env(env.unwrapped)
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.reset(seed=3)[0] == env.reset(seed=3)[0]
    env.close()
    env.close()


def test_an_agent_that_needs_the_gold_is_told_who_keeps_it(url: str, tmp_path: Path, capsys: Any) -> None:
    words = ["eval", REMOTE, "--url", url, "--env-arg", f'env_id="{CALCULATOR}"', "--agent", "oracle", "-n", "1"]
    assert main([*words, "--store", str(tmp_path / "runs.db")]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: agent oracle needs the gold trace")
    assert said[-1].endswith("--expose-gold")


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vector_environments_take_it(url: str, mode: str) -> None:
    options = {"shared_memory": False} if mode == "async" else {}
    vector = gym.make_vec(REMOTE, 2, vectorization_mode=mode, vector_kwargs=options, url=url, env_id=CALCULATOR)
    try:
        observations, _ = vector.reset(seed=[5, 6])
        assert [*observations] == [make_env(CALCULATOR).reset(seed=seed)[0] for seed in (5, 6)]
        vector.step(("done", "done"))
    finally:
        vector.close()


@pytest.mark.parametrize("id", PLAYED)
@pytest.mark.parametrize("dialect", ["openai", "hermes"])
def test_it_gives_the_same_as_where_it_runs(url: str, id: str, dialect: str) -> None:
    options = {"split": "test", "dialect": dialect, "reward": "default"}
    with make_env(REMOTE, url=url, env_id=id, **options) as there, make_env(id, **options) as here:
        for seed in (1, 2, None):
            observation, info = here.reset(seed=seed)
            assert there.reset(seed=seed) == (observation, without_gold(info))
            script = script_of(here, info)
            odd = ["<tool_call>{oops</tool_call>", {"content": None, "tool_calls": 7}, None, {1, 2}, "\ud800"]
            for action in [*odd[: 3 if seed == 1 else 0], *script[:-1], *odd[3 : 3 + (seed == 2)], script[-1]]:
                ours, theirs = here.step(action), there.step(action)  # type: ignore[arg-type]
                assert theirs == (*ours[:4], without_gold(ours[4]))
                assert repr(theirs) == repr((*ours[:4], without_gold(ours[4])))  # tuples are tuples, 1.0 is no 1
                if ours[2] or ours[3]:
                    break
            local, remote = here.trace().model_dump(), there.trace().model_dump()
            for turn in local["turns"]:
                turn["parts"] = {}
            for spec in local["tools"]:
                spec.update(comparators={}, same_result="")
            assert remote == {**local, "matches": (), "gold_calls": 0, "provenance": remote["provenance"]}
            assert remote["provenance"]["env_id"] == REMOTE
            assert there.conversation() == here.conversation()


def test_a_task_by_id_and_lists_of_tasks(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR, task="test/4") as there, make_env(CALCULATOR) as here:
        assert there.reset()[0] == there.reset()[0] == here.reset(options={"task": "test/4"})[0]
        assert there.reset(options={"task": "train/2"})[0] == here.reset(options={"task": "train/2"})[0]
        assert there.task_ids(3, 5) == here.task_ids(3, 5)
        assert there.task_ids(20_001, 5) == here.task_ids(20_001, 5)  # more than a server gives at a time
        assert there.task_ids() == here.task_ids()
        assert there.task_named("test/4").messages == here.task_named("test/4").messages
        assert there.task_named("test/4").gold.calls == ()
        assert there.task_named("test/4").tags == ()
        for call in (
            lambda: there.task_named("nowhere/1"),
            lambda: there.reset(options={"task": here.task}),
            lambda: there.reset(options={"tsak": 1}),
            lambda: there.prepare("test/4"),
            lambda: there.sandbox,
        ):
            with pytest.raises(UsageError):
                call()


def test_misuse_is_told_as_where_it_runs(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR) as there, make_env(CALCULATOR) as here:
        for env in (there, here):
            with pytest.raises(UsageError, match=r"step\(\) before reset\(\); call reset\(\) first"):
                env.step("x")
            env.reset(seed=1)
            env.step("done")
            with pytest.raises(UsageError, match=r"the episode has ended \(answer\); call reset\(\)"):
                env.step("x")
    for options, word in [
        ({}, "env_id is missing"),
        ({"env_id": "none"}, "not on this server"),
        ({"env_id": CALCULATOR, "dialect": "klingon"}, "klingon"),
        ({"env_id": CALCULATOR, "data_dir": "/etc"}, "cannot be chosen"),
    ]:
        with pytest.raises(UsageError, match=word):
            make_env(REMOTE, url=url, **options)
    for wrong in (None, "localhost", "ftp://x"):
        with pytest.raises(UsageError, match="url"):
            make_env(REMOTE, url=wrong)


# Branching


def test_snapshots_and_forks_play_on_as_if_alone(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR) as env, make_env(CALCULATOR) as here:
        env.reset(seed=9)
        script = script_of(here, here.reset(seed=9)[1])
        rewards = [here.step(action)[1] for action in script]
        env.step(script[0])
        picture = env.snapshot()
        twin = env.fork()
        for action in script[1:]:
            env.step(action)
        assert [env.trace().turns[i].reward for i in range(len(rewards))] == rewards
        assert [twin.step(action)[1] for action in script[1:]] == rewards[1:]
        env.restore(picture)
        assert len(env.trace().turns) == 1
        assert [env.step(action)[1] for action in script[1:]] == rewards[1:]
        twin.restore(picture)
        assert twin.step("no")[2]
        assert twin.reset()[0] != env.reset(seed=9)[0]
        twin.close()
        with pytest.raises(UsageError, match="restore"):
            env.restore("picture")  # type: ignore[arg-type]


def test_snapshots_that_nobody_holds_are_let_go_of() -> None:
    with server_here(CALCULATOR, snapshots=3) as url, make_env(REMOTE, url=url) as env:
        env.reset(seed=1)
        for _ in range(10):
            env.snapshot()
        held = [env.snapshot() for _ in range(3)]
        with pytest.raises(InfrastructureError, match="let go of some"):
            env.snapshot()
        env.restore(held[0])


# Gold


def test_exposed_gold_lets_an_oracle_play(open_url: str) -> None:
    with make_env(REMOTE, url=open_url, split="test") as there, make_env(CALCULATOR, split="test") as here:
        task = here.task_ids(1)[0]
        remote = play_episode(there, make_agent("oracle"), task=task).trace
        local = play_episode(here, make_agent("oracle"), task=task).trace
        assert remote.success
        assert remote.model_dump(exclude={"provenance"}) == local.model_dump(exclude={"provenance"})
        oracle = there.reset(options={"task": task})[1]["oracle"]
        here.reset(options={"task": task})
        assert there.task.tags == here.task.tags
        assert repr(oracle) == "<oracle>"
        assert pickle.loads(pickle.dumps(oracle)).script() == oracle.script()


def test_an_agent_that_needs_gold_is_told_that_there_is_none(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR) as env, pytest.raises(UsageError, match="gold"):
        play_episode(env, make_agent("oracle"), task="test/1")


# Evaluation


def test_an_evaluation_gives_the_same_figures(url: str, tmp_path: Path) -> None:
    figures = []
    for options in ({"env_id": CALCULATOR, "url": url}, None):
        id = CALCULATOR if options is None else REMOTE
        with open_store(str(tmp_path / "runs.db")) as store:
            summary = evaluate(
                lambda id=id, options=options: make_env(id, split="test", **(options or {})),  # type: ignore[misc]
                lambda: make_agent("random"),
                store.begin_run(id.partition("/")[2], {"agent": "random"}),
                tasks=[f"test/{n}" for n in range(4)],
                concurrency=2,
            )
        figures.append(summary.model_dump(exclude={"seconds", "precision", "recall", "f1", "oracle_share"}))
        if options is not None:  # without gold there is nothing to be right about
            assert (summary.precision, summary.recall, summary.oracle_share) == (None, None, None)
    assert figures[0] == figures[1]


def test_the_command_line_evaluates_over_a_server(url: str, tmp_path: Path) -> None:
    command = ["eval", REMOTE, "--url", url, "--env-arg", f'env_id="{CALCULATOR}"', "--agent", "random", "-n", "3"]
    program = [sys.executable, "-c", "import sys; from tir_gym.cli import main; sys.exit(main())"]
    done = subprocess.run([*program, *command, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 3


# Loss


def test_a_server_killed_amid_an_episode_is_an_infrastructure_failure_that_no_statistic_counts(tmp_path: Path) -> None:
    with server_process(CALCULATOR) as (url, process), open_store(str(tmp_path / "runs.db")) as store:
        env = make_env(REMOTE, url=url, patience=0.3)
        run = store.begin_run("killed", {"agent": "random"})
        run.record(play_episode(env, make_agent("random"), task="test/1"), repeat=0)
        env.reset(options={"task": "test/2"})
        env.step({"content": None, "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}]})
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        observation, reward, terminated, truncated, info = env.step("anything")
        assert (observation, reward, terminated, truncated) == ((), 0.0, False, True)
        assert info["infra_error"]["kind"] == "server_lost"
        assert info["ending"] == "infra_error"
        trace = env.trace()
        assert trace.infra_error == info["infra_error"]
        assert [turn.reward for turn in trace.turns][-1] == 0.0
        with pytest.raises(UsageError, match="has ended"):
            env.step("more")

        run.record(PlayedEpisode(trace, 0.1, (0.1,)), repeat=0)
        summary = summarise(run.episodes())
        assert (summary.episodes, summary.infra_failures) == (1, 1)
        assert summary.infra_errors == {"server_lost": 1}
        with pytest.raises(InfrastructureError, match="lost the server"):
            env.reset(seed=1)
        env.close()


def test_a_dropped_connection_is_made_again_and_nothing_is_lost(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR) as env, make_env(CALCULATOR) as here:
        env.reset(seed=9)
        script = script_of(here, here.reset(seed=9)[1])
        for action in script:
            assert env._session._connection._socket is not None  # type: ignore[attr-defined]
            env._session._connection._socket.shutdown(2)  # type: ignore[attr-defined]
            assert env.step(action)[1] == here.step(action)[1]


def test_an_interrupted_request_leaves_no_reply_for_the_next_one() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with server_here("slow_tools:SlowEnv") as slow_url, make_env(REMOTE, url=slow_url) as env:
        env.reset(seed=1)
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                env.step(
                    {"content": None, "tool_calls": [{"function": {"name": "wait", "arguments": '{"seconds": 1}'}}]}
                )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert env._session._connection._socket is None  # type: ignore[attr-defined]
        time.sleep(1.2)  # the reply is there now
        assert env.task_ids(2) == ["train/0", "train/1"]


def test_a_reply_to_another_request_is_a_lost_connection(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR) as env:
        env.reset(seed=1)
        session = env._session  # type: ignore[attr-defined]
        # Sent and not waited for: its reply is the first to arrive.
        session._connection.send(
            json.dumps({"op": "tasks", "id": session._last + 1, "session": session._token, "n": 9})
        )
        session._last += 1
        while not session._connection.is_stale():  # until it is there
            time.sleep(0.01)
        assert len(env.task_ids(2)) == 2


def test_a_refused_message_breaks_nothing() -> None:
    with server_here(CALCULATOR, message=2000) as url, make_env(REMOTE, url=url) as env:
        env.reset(seed=1)
        token = env._session._token  # type: ignore[attr-defined]
        assert env.step("x" * 3000)[4]["infra_error"]["kind"] == "message_too_big"
        with pytest.raises(InfrastructureError, match="bad_message"):
            env.task_ids(2, first=-1)
        assert len(env.task_ids(2)) == 2
        assert env.reset()[0] == twice_reset(1)
        assert env._session._token == token  # type: ignore[attr-defined]


def test_a_busy_session_can_be_used_when_it_is_done() -> None:
    with server_here("slow_tools:SlowEnv") as url, make_env(REMOTE, url=url, timeout=1.0) as env:
        env.reset(seed=1)
        call = {"name": "wait", "arguments": '{"seconds": 4}'}
        assert env.step({"content": None, "tool_calls": [{"function": call}]})[3]  # no reply in time
        with pytest.raises(InfrastructureError, match="busy"):
            env.task_ids(2)
        time.sleep(4)
        assert len(env.task_ids(2)) == 2


def test_a_session_out_of_step_is_opened_afresh(url: str) -> None:
    with make_env(REMOTE, url=url, env_id=CALCULATOR) as env:
        env.reset(seed=1)
        env._session._last += 5  # type: ignore[attr-defined]
        assert env.step("x")[4]["infra_error"]["kind"] == "server_bug"
        with pytest.raises(InfrastructureError, match="out_of_order"):
            env.reset()  # drawn by a generator that is out of reach
        assert env.reset(seed=1)[0] == make_env(CALCULATOR).reset(seed=1)[0]
        assert env.step("x")[4]["ending"] == "answer"


def twice_reset(seed: int) -> Any:
    """The second observation of that seed, where the environment runs."""
    env = make_env(CALCULATOR)
    env.reset(seed=seed)
    return env.reset()[0]


def test_a_dead_server_with_snapshots_to_let_go_of_is_an_infrastructure_failure() -> None:
    with server_process(CALCULATOR) as (url, process):
        env = make_env(REMOTE, url=url, patience=0.2)
        env.reset(seed=1)
        env.snapshot()  # held by nobody
        process.kill()
        process.wait(10)
        assert env.step("x")[4]["infra_error"]["kind"] == "server_lost"
        env.close()


def test_a_server_that_ends_in_good_order_is_lost_too() -> None:
    with server_process(CALCULATOR) as (url, process):
        env = make_env(REMOTE, url=url, patience=0.2)
        env.reset(seed=1)
        process.terminate()
        process.wait(30)
        assert env.step("x")[4]["infra_error"]["kind"] == "server_lost"
        env.close()


def test_a_server_started_again_serves_the_next_episode_where_that_is_the_same() -> None:
    with server_here(CALCULATOR, idle=0.3, grace=0.3) as url, make_env(REMOTE, url=url) as env:
        env.reset(seed=1)
        time.sleep(1.2)  # the session has expired
        assert env.step("x")[4]["infra_error"]["kind"] == "session_lost"
        with pytest.raises(InfrastructureError, match="any more"):
            env.reset()  # drawn by a generator that is gone
        assert env.reset(seed=1)[0] == make_env(CALCULATOR).reset(seed=1)[0]
        time.sleep(1.2)
        assert env.reset(options={"task": "test/1"})[1]["task_id"] == "test/1"


def test_no_server_and_a_wrong_one_are_told(url: str) -> None:
    with pytest.raises(InfrastructureError, match="lost the server") as lost:
        make_env(REMOTE, url="http://127.0.0.1:9", patience=0.1)
    assert lost.value.kind == "server_lost"
    for other in (f"{url}/openenv/none", f"{url}/nowhere"):  # another protocol, and none
        with pytest.raises(InfrastructureError) as refused:
            make_env(REMOTE, url=other, patience=0.1)
        assert refused.value.kind in ("server_bug", "server_refused")


def test_the_token_is_in_no_record(tmp_path: Path) -> None:
    with server_here(CALCULATOR, token="a-secret") as url:
        env = gym.make(REMOTE, url=url, token="a-secret")
        env.reset(seed=1)
        unwrapped: Any = env.unwrapped
        assert b"a-secret" not in unwrapped.trace().canonical()
        assert http(f"{url}/metrics")[0] == 401
        env.close()


def test_importing_the_package_needs_none_of_it() -> None:
    script = (
        "import sys; sys.modules['websockets'] = None; import gymnasium, tir_gym; "
        "assert 'tir_gym/Remote-v0' in gymnasium.registry\n"
        "try: gymnasium.make('tir_gym/Remote-v0', url='http://x')\n"
        "except ImportError as error: assert 'tir-gym[server]' in str(error), error\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
