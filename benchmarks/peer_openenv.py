"""OpenEnv's own server under its own client: an environment that only counts. Run by `benchmarks/server.py --openenv`.

    /path/to/python/with/openenv-core benchmarks/peer_openenv.py [--steps N] [--rounds N]

Prints one JSON line for each number of sessions: steps per second and processor microseconds of a step, by round.
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app
from openenv.core.generic_client import GenericEnvClient


class Say(Action):
    text: str


class Heard(Observation):
    text: str = ""


class Counter(Environment):
    """Counts its steps, and gives back what was said."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State(episode_id="one", step_count=0)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **rest: Any) -> Heard:
        self._state = State(episode_id=episode_id or "one", step_count=0)
        return Heard(text="", reward=0.0, done=False)

    def step(self, action: Say, timeout_s: float | None = None, **rest: Any) -> Heard:
        self._state.step_count += 1
        return Heard(text=action.text, reward=1.0, done=False)

    @property
    def state(self) -> State:
        return self._state


def serve(port: int) -> None:
    import uvicorn

    app = create_fastapi_app(Counter, Say, Heard, max_concurrent_envs=64)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")


def cpu_of(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


async def measure(url: str, pid: int, sessions: int, steps: int, rounds: int) -> list[tuple[float, float, float]]:
    clients = [GenericEnvClient(base_url=url) for _ in range(sessions)]
    action = {"text": "x" * 300}

    async def play(client: Any) -> None:
        for _ in range(steps // sessions):
            await client.step(action)

    for client in clients:
        await client.connect()
        await client.reset()
        for _ in range(50):
            await client.step(action)
    rows = []
    for _ in range(rounds):
        server, start, own = cpu_of(pid), time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.gather(*map(play, clients))
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        spent = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
        done = steps // sessions * sessions
        rows.append((done / seconds, (cpu_of(pid) - server) / done * 1e6, spent / done * 1e6))
    for client in clients:
        await client.close()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        for _ in range(600):
            try:
                urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        for sessions in (1, 8):
            rows = asyncio.run(measure(url, server.pid, sessions, options.steps, options.rounds))
            print(json.dumps({"sessions": sessions, "rounds": rows}))
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
