"""An evaluation as a process of its own, for tests that interrupt and kill it.

    python evaluate_coin.py STORE RUN TASKS REPEATS CONCURRENCY DELAY

Resumes the run where there is one. Prints `begun`, then a line for each episode recorded, then `finished`.
"""

from __future__ import annotations

import sys

from tiny_agents import Coin

from tir_gym import evaluation
from tir_gym.making import make_env
from tir_gym.store import open_store

ENV_ID = "tir_gym/Calculator-v0"


def main(place: str, name: str, tasks: int, repeats: int, concurrency: int, delay: float) -> None:
    evaluation._GRACE_SECONDS = 1.0
    with open_store(place) as store:
        config = {"env_id": ENV_ID, "agent": "coin", "n": tasks, "k": repeats, "seed": 5}
        run = store.begin_run(name, config, resume=True)
        print("begun", flush=True)
        try:
            evaluation.evaluate(
                lambda: make_env(ENV_ID, split="test"),
                lambda: Coin(delay),
                run,
                tasks=[f"test/{i}" for i in range(tasks)],
                repeats=repeats,
                concurrency=concurrency,
                seed=5,
                on_episode=lambda played, task, repeat: print(task, repeat, flush=True),
            )
        except KeyboardInterrupt:
            print("interrupted", run.status, len(run.done()), flush=True)
            raise SystemExit(130) from None
        print("finished", run.status, len(run.done()), flush=True)


if __name__ == "__main__":
    place, name, *numbers, delay = sys.argv[1:]
    main(place, name, *map(int, numbers), delay=float(delay))  # type: ignore[misc]
