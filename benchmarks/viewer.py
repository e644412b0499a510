"""How quickly do the viewer's pages open on a store of 10,000 episodes?

    python benchmarks/viewer.py

Four runs of 2,500 episodes, 625 tasks with four attempts each: real episodes of a noisy agent on Assistant-v0, stored
many times over under other task ids. Each page is asked for by a viewer that has just been started and by the same one
again. CPU seconds and seconds on the clock, which a busy machine only ever adds to.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from starlette.testclient import TestClient

from tir_gym.agents import make_agent
from tir_gym.episode import play_episode
from tir_gym.making import make_env
from tir_gym.store import open_store
from tir_gym.store.rows import Rows, outcome_of, rows_of
from tir_gym.viewer.app import make_app
from tir_gym.viewer.reader import Reader

ENV_ID = "tir_gym/Assistant-v0"
RUNS, TASKS, ATTEMPTS, PLAYED = 4, 625, 4, 40
PAGES = {
    "runs": "/",
    "a run": "/runs/1",
    "a run, its last page by return": "/runs/1?sort=-return&page=50",
    "two runs compared": "/compare?run=1&run=2",
    "a group": "/group?run=1&task=test/5",
    "an episode": "/episodes/5000",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "runs.db"
        fill(where)
        print(f"{RUNS * TASKS * ATTEMPTS:,} episodes, {where.stat().st_size / 2**20:.0f} MB")
        print(f"{'page':34}{'first, CPU s':>14}{'on the clock':>14}{'again, CPU s':>14}")
        for name, address in PAGES.items():
            reader = Reader(where)
            client = TestClient(make_app(reader), base_url="http://localhost")
            client.get("/static/app.css")  # the server's own start is not the page's
            first, again = timed(client, address), timed(client, address)
            print(f"{name:34}{first[0]:14.3f}{first[1]:14.3f}{again[0]:14.3f}")
            reader.close()


def timed(client: TestClient, address: str) -> tuple[float, float]:
    """CPU seconds and seconds on the clock of a page."""
    cpu, clock = time.process_time(), time.perf_counter()
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return time.process_time() - cpu, time.perf_counter() - clock


def fill(where: Path) -> None:
    """Four runs of the same episodes under many names."""
    env = make_env(ENV_ID)
    agent = make_agent("noisy:0.3")
    played = [play_episode(env, agent, task=f"test/{i}", agent_seed=i, name="noisy:0.3") for i in range(PLAYED)]

    def episodes(run: int) -> Iterator[Rows]:
        for i in range(TASKS * ATTEMPTS):
            one = played[(7 * i + run) % PLAYED]
            outcome = replace(outcome_of(one, repeat=i % ATTEMPTS), task_id=f"test/{i // ATTEMPTS}")
            yield rows_of(one, outcome)

    with open_store(where) as store:
        for run in range(RUNS):
            config = {"env_id": ENV_ID, "agent": "noisy:0.3", "k": ATTEMPTS, "n": TASKS, "seed": run}
            store.add_run(f"run{run}", config, episodes(run))


if __name__ == "__main__":
    main()
