"""Many episodes at once: the same traces whatever the order, every one recorded, and a clean end in every case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_agents import Coin, Down, Gold

from tir_gym import evaluation
from tir_gym.env import ToolEnv
from tir_gym.envs.calculator import CalculatorEnv
from tir_gym.episode import PlayedEpisode
from tir_gym.errors import UsageError
from tir_gym.evaluation import agent_seed, evaluate
from tir_gym.making import make_env
from tir_gym.metrics import Summary
from tir_gym.store import Run, Store, open_store

TASKS = [f"test/{i}" for i in range(12)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "runs.db") as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> Run:
    return store.begin_run("run", {"agent": "the agent"})


def calculator() -> ToolEnv:
    return make_env("tir_gym/Calculator-v0", split="test")


def play(run: Run, make_agent: Callable[[], Any], **options: Any) -> Summary:
    return evaluate(options.pop("make_env", calculator), make_agent, run, **({"tasks": TASKS} | options))


def traces(run: Run) -> dict[tuple[str, int], bytes]:
    return {(row.task_id, row.repeat): row.trace().canonical() for row in run.episodes()}


def test_gold_scores_full_marks(run: Run) -> None:
    summary = play(run, Gold, repeats=2, concurrency=3)
    assert (summary.episodes, summary.tasks, summary.successes, summary.k) == (24, 12, 24, 2)
    assert summary.oracle_share is not None
    assert (summary.oracle_share.value, summary.oracle_share.n) == (1.0, 24)
    assert summary.precision == summary.recall == summary.pass_hat_k[2].value == 1.0
    assert summary.tokens == pytest.approx(11 * (summary.turns or 0))
    assert run.status == "finished"
    row = next(run.episodes())
    assert row.trace().provenance.agent == "the agent"
    assert row.tags == calculator().task_named(row.task_id).tags != ()


def test_traces_do_not_depend_on_concurrency_or_order(store: Store) -> None:
    one, eight = (store.begin_run(name, {}) for name in ("one", "eight"))
    first = play(one, Coin, repeats=3, seed=11)
    second = play(eight, lambda: Coin(0.003), repeats=3, seed=11, concurrency=8, tasks=TASKS[::-1])
    assert traces(one) == traces(eight)
    clock = {"seconds": None}
    assert first.model_copy(update=clock) == second.model_copy(update=clock)
    assert 0 < first.successes < first.episodes  # the agent's luck is its seed's
    other = store.begin_run("other seed", {})
    play(other, Coin, repeats=3, seed=12)
    assert traces(other) != traces(one)


def test_agent_seeds_differ_and_stay(run: Run) -> None:
    seeds = [agent_seed(s, task, r) for s in range(5) for task in TASKS for r in range(5)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert agent_seed(0, "test/0", 0) == 1015315311  # a resume years later must draw the same


class Counting(Gold):
    """Gold, with a tally of what is played and closed."""

    played: Counter[str]
    closed: int
    made: int

    def __init__(self) -> None:
        type(self).made += 1

    def begin(self, env_info: dict[str, Any]) -> None:
        super().begin(env_info)
        type(self).played[env_info["task_id"]] += 1

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def counting() -> type[Counting]:
    return type("Fresh", (Counting,), {"played": Counter(), "closed": 0, "made": 0})


class Calculator(CalculatorEnv):
    """With a tally of what happens to all of them."""

    tally: ClassVar[Counter[str]] = Counter()

    def reset(self, **arguments: Any) -> Any:
        self.tally["resets"] += 1
        return super().reset(**arguments)

    def close(self) -> None:
        self.tally["closed"] += 1
        super().close()


def test_what_is_done_is_not_played_again(run: Run, counting: type[Counting]) -> None:
    play(run, Gold, tasks=TASKS[:5])
    before = traces(run)
    summary = play(run, counting, repeats=2, concurrency=4)
    assert counting.played == Counter({task: 1 if task in TASKS[:5] else 2 for task in TASKS})
    assert summary.episodes == 24
    assert {key: traces(run)[key] for key in before} == before
    play(run, counting, repeats=2, concurrency=4)
    assert counting.played.total() == 19


def test_the_oracle_is_asked_once_per_task_even_across_a_resume(run: Run) -> None:
    Calculator.tally = Counter()
    play(run, Coin, make_env=Calculator, repeats=3)
    assert Calculator.tally["resets"] == len(TASKS) * (3 + 1)
    play(run, Coin, make_env=Calculator, repeats=4)
    assert Calculator.tally["resets"] == len(TASKS) * (4 + 1)


def test_every_worker_has_its_own_and_closes_it(run: Run, counting: type[Counting]) -> None:
    Calculator.tally = Counter()
    play(run, counting, make_env=Calculator, concurrency=5)
    assert (counting.made, counting.closed, Calculator.tally["closed"]) == (5, 5, 5)
    play(run, counting, make_env=Calculator, concurrency=5)  # nothing left to do
    assert (counting.made, Calculator.tally["closed"]) == (5, 5)


def test_infrastructure_failures_stand_apart_and_are_rerun(run: Run) -> None:
    summary = play(run, Down, concurrency=2)
    assert (summary.episodes, summary.infra_failures, summary.infra_errors) == (0, 12, {"agent_failure": 12})
    assert (summary.success, run.done(), run.status) == (None, set(), "finished")
    up = type("Up", (Down,), {"up": True})
    summary = play(run, up, concurrency=2)
    assert (summary.episodes, summary.successes, summary.infra_failures) == (12, 12, 0)


def test_each_episode_is_announced_once_after_it_was_recorded(run: Run) -> None:
    told: list[tuple[str, int]] = []

    def on_episode(played: PlayedEpisode, task: str, repeat: int) -> None:
        assert played.trace.provenance.task_id == task
        assert (task, repeat) in run.done()
        told.append((task, repeat))

    play(run, Coin, repeats=2, concurrency=4, on_episode=on_episode)
    assert sorted(told) == sorted((task, repeat) for task in TASKS for repeat in range(2))


class Buggy(Gold):
    def begin(self, env_info: dict[str, Any]) -> None:
        super().begin(env_info)
        if env_info["task_id"] == "test/7":
            raise ZeroDivisionError("a bug of mine")


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_bug_of_the_agent_stops_the_run_and_keeps_what_is_finished(run: Run, concurrency: int) -> None:
    Calculator.tally = Counter()
    before = set(threading.enumerate())  # other tests may have left a loop or a pool at work
    with pytest.raises(ZeroDivisionError, match="a bug of mine") as caught:
        play(run, Buggy, make_env=Calculator, concurrency=concurrency)
    assert caught.value.__notes__ == ["while playing task test/7, repeat 0"]
    assert run.status == "running"
    assert ("test/7", 0) not in run.done()
    if concurrency == 1:
        assert run.done() == {(task, 0) for task in TASKS[:7]}
    assert Calculator.tally["closed"] == concurrency
    assert not set(threading.enumerate()) - before
    assert play(run, Gold, concurrency=concurrency).successes == 12


def test_a_bug_of_the_listener_stops_the_run(run: Run) -> None:
    def on_episode(played: PlayedEpisode, task: str, repeat: int) -> None:
        raise RuntimeError("cannot draw")

    with pytest.raises(RuntimeError, match="cannot draw"):
        play(run, Gold, concurrency=3, on_episode=on_episode)
    assert 1 <= len(run.done()) <= 3  # what other workers had finished by then is kept
    assert run.status == "running"


@pytest.mark.parametrize("which", ["make_env", "make_agent"])
def test_what_cannot_be_made_is_told(run: Run, which: str) -> None:
    def fail() -> Any:
        raise UsageError("no such model")

    options: dict[str, Any] = {"make_env": calculator, "make_agent": Gold} | {which: fail}
    with pytest.raises(UsageError, match="no such model"):
        play(run, **options, concurrency=4)
    assert run.done() == set()


def test_an_agent_that_hangs_holds_nobody_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One agent fails while another waits for ever: the error comes out, and nothing is recorded afterwards."""
    monkeypatch.setattr(evaluation, "_GRACE_SECONDS", 0.2)
    hanging, release = threading.Event(), threading.Event()

    class Hanging(Buggy):
        def act(self, observation: Any, info: dict[str, Any]) -> Any:
            hanging.set()
            release.wait()
            return "Done."

        def begin(self, env_info: dict[str, Any]) -> None:
            if env_info["task_id"] == "test/7":
                hanging.wait()
            super().begin(env_info)

        def close(self) -> None:
            closed.append(self)

    closed: list[Any] = []
    try:
        with pytest.raises(ZeroDivisionError):
            play(run, Hanging, tasks=["test/1", "test/7"], concurrency=2)
        assert len(closed) == 2
    finally:
        release.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(5)
    assert run.done() == set()
    assert len(closed) == 2


def test_the_others_stop_at_the_end_of_their_turn(run: Run) -> None:
    acting, failed = threading.Event(), threading.Event()
    turns = []

    class Agent(Gold):
        def begin(self, env_info: dict[str, Any]) -> None:
            super().begin(env_info)
            if env_info["task_id"] == "test/7":
                acting.wait()
                failed.set()
                raise ZeroDivisionError

        def act(self, observation: Any, info: dict[str, Any]) -> Any:
            turns.append(len(turns))
            acting.set()
            failed.wait()
            time.sleep(0.3)  # by when the evaluation has heard of it
            return super().act(observation, info)

    with pytest.raises(ZeroDivisionError):
        play(run, Agent, tasks=["test/1", "test/7"], concurrency=2)
    assert turns == [0]
    assert run.done() == set()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tasks": []}, "no tasks to evaluate"),
        ({"tasks": ["test/1", "test/2", "test/1"]}, "task test/1 is given 2 times"),
        ({"repeats": 0}, "repeats=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"tasks": ["nowhere/1"]}, "no task 'nowhere/1'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(run: Run, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        play(run, Gold, **options)
    assert run.status == "running"


def test_ctrl_c_ends_cleanly_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    place = tmp_path / "runs.db"
    script = Path(__file__).with_name("evaluate_coin.py")
    command = [sys.executable, str(script), str(place), "run", "20", "2", "8", "0.02"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    recorded = []
    for line in process.stdout:
        recorded.append(line.split())
        if len(recorded) == 8:  # "begun" and seven episodes
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    *told, last = recorded
    assert last[:2] == ["interrupted", "running"]
    with open_store(place) as store:
        run = store.run("run")
        done = run.done()
        assert {(task, int(repeat)) for task, repeat in told[1:]} == done
        assert int(last[2]) == len(done) < 40
        before = traces(run)
        assert run.status == "running"
    finish = subprocess.run([*command[:-1], "0"], stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
    assert finish.stdout.splitlines()[-1] == "finished finished 40"
    with open_store(place) as store:
        after = traces(store.run("run"))
        assert {key: after[key] for key in before} == before
        whole = store.begin_run("whole", {"agent": "coin"})
        play(whole, Coin, tasks=[f"test/{i}" for i in range(20)], repeats=2, seed=5, concurrency=2)
        assert traces(whole) == after
