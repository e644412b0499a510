"""Processes that die while they record an episode, for tests: one at each statement of the transaction.

    python torn_record.py FIRST|AGAIN PLACE [PLACE ...]

The process for the n-th place dies with SIGKILL before its n-th statement, the commit counted as one; with fewer
statements than that it dies right after the commit. `AGAIN`: it was replacing an infrastructure failure.
Prints `died` or `survived` for each.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import sqlalchemy
from sqlalchemy import event
from tiny_agents import Down, Gold

from tir_gym.episode import play_episode
from tir_gym.making import make_env
from tir_gym.store import open_store


def record_and_die(place: str, again: bool, deadly: int) -> None:
    env = make_env("tir_gym/Calculator-v0", split="test")
    with open_store(place) as store:
        run = store.begin_run("run", {})
        if again:
            run.record(play_episode(env, Down(), task="test/3"), repeat=0)
        played = play_episode(env, Gold(), task="test/3")
        steps = 0

        def step(*_: Any) -> None:
            nonlocal steps
            if steps == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1

        event.listen(sqlalchemy.Engine, "before_cursor_execute", step)
        event.listen(sqlalchemy.Engine, "commit", step)
        run.record(played, repeat=0)
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    again, places = sys.argv[1] == "AGAIN", sys.argv[2:]
    for deadly, place in enumerate(places):
        child = os.fork()  # saves the time of importing everything anew
        if child == 0:
            record_and_die(place, again, deadly)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print("died" if os.WIFSIGNALED(status) else "survived", flush=True)


if __name__ == "__main__":
    main()
