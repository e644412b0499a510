"""How many steps does the environment server serve? Over WebSocket, next to OpenEnv's own server in the same run.

    python benchmarks/server.py [--steps N] [--rounds N] [--openenv PYTHON] [--crowd N] [--seconds S] [--only NAME ...]

- `ws`: steps of `tir_gym/Calculator-v0` (a tool call each, matched and paid) over WebSocket, from one session and from
  eight; resets between episodes count in time, not as steps.
- `openenv`: an environment of OpenEnv's that only counts, on its own server under its own client, in the interpreter
  that `--openenv` names (`pip install openenv-core`).
- `mcp`: calls of a tool of an episode, in this process and over streamable HTTP.
- `crowd`: sessions that all stand and all play for a while, each against the same episode played here; nothing lost,
  and the memory of the server.
- `eval`: turns of `tir_gym.evaluation` with an agent that answers at once, here and over the server.

Each figure is the median over rounds, best in brackets, with processor microseconds of server and client: on a shared
machine these say more than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tir_gym
from tir_gym.agents.oracle import OracleAgent
from tir_gym.envs.remote import RemoteEnv
from tir_gym.envs.remote.connection import Connection
from tir_gym.evaluation import evaluate
from tir_gym.making import make_env
from tir_gym.store import open_store

CALCULATOR = "tir_gym/Calculator-v0"
HERE = Path(__file__).parent


class Raw:
    """A session driven by bare messages, so that what is measured is the server and little of a client."""

    def __init__(self, url: str, moves: Sequence[tuple[str, Sequence[Any]]], connection: Connection | None = None):
        self.connection = connection or Connection(url, None, 60.0)
        self.session = self.ask("create", id=os.urandom(12).hex(), env_id=CALCULATOR)["session"]
        self.last = 0
        self.texts = self._texts(moves)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        reply = json.loads(self.connection.ask(json.dumps({"op": op, **fields})))
        assert reply["ok"], reply
        result: dict[str, Any] = reply["result"]
        return result

    def _texts(self, moves: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[tuple[bool, str]]:
        """Messages without end, and whether each is a step."""
        while True:
            for task, actions in moves:
                yield False, self._numbered("reset", {"task": task})
                for action in actions:
                    yield True, self._numbered("step", {"action": action})

    def _numbered(self, op: str, fields: dict[str, Any]) -> str:
        self.last += 1
        return json.dumps({"op": op, "id": self.last, "session": self.session, **fields})


def moves(count: int) -> list[tuple[str, list[Any]]]:
    """Tasks and the messages that solve them."""
    env = make_env(CALCULATOR, split="test")
    played = []
    for task in env.task_ids(count):
        _, info = env.reset(options={"task": task})
        played.append((task, [env.dialect.render(*move) for move in info["oracle"].script()]))
    return played


@contextlib.contextmanager
def served(*options: str) -> Iterator[tuple[str, int]]:
    """A server of ours: its URL and process."""
    command = [
        sys.executable,
        "-c",
        "import tir_gym.cli; tir_gym.cli.main()",
        "serve",
        CALCULATOR,
        "--port",
        "0",
        *options,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[3], process.pid
    finally:
        process.terminate()
        process.wait(30)


def cpu_of(pid: int) -> float:
    """Processor seconds of a process and those it has started."""
    total = 0.0
    tick = os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            if int(stat.parent.name) == pid or int(words[1]) == pid:
                total += (int(words[11]) + int(words[12])) / tick
    return total


def rss_of(pid: int) -> float:
    """Resident MiB of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} is gone")


def report(name: str, rounds: Sequence[tuple[float, float, float]]) -> None:
    """One line: rates, and processor microseconds of server and client for one step."""
    rates, server, client = zip(*rounds, strict=True)
    print(
        f"{name:<44} {statistics.median(rates):8.0f}/s ({max(rates):.0f})"
        f"   server {statistics.median(server):6.0f} us, client {statistics.median(client):6.0f} us"
    )


def timed(pid: int, steps: int, play: Callable[[], Any]) -> tuple[float, float, float]:
    server, client, start = cpu_of(pid), time.process_time(), time.perf_counter()
    play()
    seconds = time.perf_counter() - start
    spent = time.process_time() - client
    return steps / seconds, (cpu_of(pid) - server) / steps * 1e6, spent / steps * 1e6


def websocket(steps: int, rounds: int) -> None:
    played = moves(50)
    with served() as (url, pid):
        for count in (1, 8):
            raws = [Raw(url, played) for _ in range(count)]

            def play(n: int, raws: Sequence[Raw] = raws) -> None:
                done = 0
                while done < n:
                    waiting = []
                    for raw in raws:
                        is_step, text = next(raw.texts)
                        raw.connection.send(text)
                        waiting.append(raw)
                        done += is_step
                    for raw in waiting:
                        raw.connection.receive()

            play(min(500, steps))
            report(f"WebSocket, {count} session(s)", [timed(pid, steps, lambda: play(steps)) for _ in range(rounds)])
        env = RemoteEnv(url=url)

        def through(n: int) -> None:
            done = 0
            while done < n:
                for task, actions in played:
                    env.reset(options={"task": task})
                    for action in actions:
                        env.step(action)
                    done += len(actions)
                    if done >= n:
                        return

        through(200)
        report("tir_gym/Remote-v0, 1 session", [timed(pid, steps, lambda: through(steps)) for _ in range(rounds)])
        env.close()


SECTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "ws": lambda options: websocket(options.steps, options.rounds),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--openenv", metavar="PYTHON", help="an interpreter that has openenv-core")
    parser.add_argument("--crowd", type=int, default=1000, help="sessions at the same time")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they play")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    options = parser.parse_args()
    print(f"tir-gym {tir_gym.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} processors")
    for name in options.only:
        SECTIONS[name](options)


if __name__ == "__main__":
    main()
