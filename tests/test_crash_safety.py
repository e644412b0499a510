"""Real processes, killed at any moment: a finished episode is neither lost nor recorded twice, and a torn one was
never there. `test_store_postgres.py` runs all of it on a real server as well."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_agents import Coin, Gold

from tir_gym.episode import play_episode
from tir_gym.evaluation import evaluate
from tir_gym.making import make_env
from tir_gym.store import open_store

HERE = Path(__file__).parent
ENV_ID = "tir_gym/Calculator-v0"
TASKS, REPEATS = 20, 2


@pytest.fixture
def places(tmp_path: Path) -> list[str]:
    """Where stores may lie, as `open_store` takes it; none of them is there yet."""
    return [str(tmp_path / f"{i}.db") for i in range(14)]


def evaluation(place: str, name: str = "run", *, delay: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "evaluate_coin.py"), place, name, str(TASKS), str(REPEATS), "8", str(delay)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def recorded(process: subprocess.Popen[str]) -> list[tuple[str, int]]:
    """The episodes that a process said it had recorded, once it has ended."""
    assert process.stdout is not None
    words = [line.split() for line in process.stdout]
    return [(line[0], int(line[1])) for line in words if len(line) == 2]


def traces(place: str, name: str = "run") -> dict[tuple[str, int], bytes]:
    with open_store(place) as store:
        rows = list(store.run(name).episodes())
        found = {(row.task_id, row.repeat): row.trace().canonical() for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], bytes]:
    place = str(tmp_path_factory.mktemp("uninterrupted") / "runs.db")
    with open_store(place) as store:
        run = store.begin_run("run", {"agent": "coin"})
        tasks = [f"test/{i}" for i in range(TASKS)]
        evaluate(lambda: make_env(ENV_ID, split="test"), Coin, run, tasks=tasks, repeats=REPEATS, seed=5)
    return traces(place)


def test_killed_and_resumed_again_and_again(places: list[str], uninterrupted: dict[tuple[str, int], bytes]) -> None:
    place, rng = places[0], random.Random("moments to die")
    told: list[tuple[str, int]] = []
    for _ in range(4):
        process = evaluation(place, delay=0.02)
        assert process.stdout is not None
        for _ in range(rng.randint(2, 6)):  # "begun", then some episodes
            words = process.stdout.readline().split()
            told += [(words[0], int(words[1]))] if len(words) == 2 else []
        time.sleep(rng.random() * 0.03)
        process.kill()
        told += recorded(process)
        assert process.wait() == -9
        kept = traces(place)
        assert set(told) <= set(kept)
        assert all(kept[key] == uninterrupted[key] for key in kept)
        with open_store(place) as store:
            assert store.run("run").status == "running"
    assert 0 < len(kept) < len(uninterrupted)
    last = evaluation(place, delay=0.0)
    told += recorded(last)
    assert last.wait() == 0
    assert len(told) == len(set(told))  # nothing was recorded twice
    assert traces(place) == uninterrupted
    with open_store(place) as store:
        assert store.run("run").status == "finished"


@pytest.mark.parametrize("kind", ["FIRST", "AGAIN"])
def test_a_torn_record_was_never_there(places: list[str], kind: str) -> None:
    """Dying at any statement leaves either what was before or the whole episode."""
    command = [sys.executable, str(HERE / "torn_record.py"), kind, *places]
    ends = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert ends == ["died"] * len(places)
    played = play_episode(make_env(ENV_ID, split="test"), Gold(), task="test/3")
    whole = []
    for place in places:
        with open_store(place) as store:
            run = store.run("run")
            rows = list(run.episodes())
            done = run.done() == {("test/3", 0)}
            if done:
                assert [row.trace().canonical() for row in rows] == [played.trace.canonical()]
            elif kind == "AGAIN":
                assert [row.trace().ending for row in rows] == ["infra_error"]
            else:
                assert rows == []
            whole.append(done)
            if not done:  # and nothing stands in the way of playing it again
                run.record(played, repeat=0)
                assert run.done() == {("test/3", 0)}
    assert whole == sorted(whole)
    assert 8 <= whole.count(False) < len(places)


def test_several_evaluations_share_a_place(places: list[str], uninterrupted: dict[tuple[str, int], bytes]) -> None:
    """Three processes make one store at the same time and write into it, while this one reads."""
    place = places[0]
    writers = [evaluation(place, f"run {i}", delay=0.0) for i in range(3)]
    looks = 0
    while any(writer.poll() is None for writer in writers):
        with open_store(place) as store:
            for info in store.runs():
                for row in store.run(info.name).episodes():
                    assert row.trace().canonical() == uninterrupted[row.task_id, row.repeat]
        looks += 1
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert looks > 0
    for i, writer in enumerate(writers):
        assert len(recorded(writer)) == TASKS * REPEATS
        assert traces(place, f"run {i}") == uninterrupted


def test_a_reader_sees_no_half_of_a_transaction(places: list[str]) -> None:
    """Threads of one process: each look at the store finds whole episodes, while one writes without pause."""
    played = play_episode(make_env(ENV_ID, split="test"), Gold(), task="test/3")
    with open_store(places[0]) as store, open_store(places[0]) as other:
        run = store.begin_run("run", {})
        over = threading.Event()

        def write() -> None:
            for repeat in range(60):
                run.record(played, repeat=repeat)
            over.set()

        writer = threading.Thread(target=write)
        writer.start()
        counts = []
        while not over.is_set():
            rows = list(other.run("run").episodes())
            assert all(row.trace() == played.trace and len(row.turn_seconds()) == row.turns for row in rows[-3:])
            counts.append(len(rows))
        writer.join()
        assert counts == sorted(counts)
        assert len(other.run("run").done()) == 60
