"""How many steps does the environment server serve? Over WebSocket, next to OpenEnv's own server in the same run.

    python benchmarks/server.py [--steps N] [--rounds N] [--openenv PYTHON] [--crowd N] [--seconds S] [--only NAME ...]

- `ws`: steps of `tir_gym/Calculator-v0` over WebSocket, from one session, from eight, and from eight on two servers.
  An episode is 20 calls, one a step, each matched and paid; once more in whole episodes as the oracle plays them, which
  are of 5 steps. Resets between episodes count in time, not as steps.
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
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import tir_gym
from tir_gym.envs.remote import RemoteEnv
from tir_gym.envs.remote.connection import Connection
from tir_gym.evaluation import evaluate
from tir_gym.making import make_env
from tir_gym.records import ToolCall
from tir_gym.server import Bounds, Catalogue
from tir_gym.server.figures import Figures
from tir_gym.server.house import House
from tir_gym.server.playing import Player
from tir_gym.server.sessions import Sessions, runs_at_once
from tir_gym.store import open_store

CALCULATOR = "tir_gym/Calculator-v0"
HERE = Path(__file__).parent


Played: TypeAlias = Sequence[tuple[str, Sequence[Any]]]
"""Tasks, and the messages that are played in each."""


class Raw:
    """A session driven by bare messages, so that what is measured is the server and little of a client."""

    def __init__(self, url: str, order: Played, **options: Any) -> None:
        self.connection = Connection(url, None, 60.0)
        self.session = self.ask("create", id=os.urandom(12).hex(), env_id=CALCULATOR, options=options)["session"]
        self.last = 0
        self.order = order
        self.texts = self._texts()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        reply = json.loads(self.connection.ask(json.dumps({"op": op, **fields})))
        assert reply["ok"], reply
        result: dict[str, Any] = reply["result"]
        return result

    def _texts(self) -> Iterator[tuple[bool, str]]:
        """Messages without end, and whether each is a step."""
        while True:
            for task, actions in self.order:
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


def calls(count: int, turns: int = 20) -> list[tuple[str, list[Any]]]:
    """Tasks, and as many calls for each, one a message."""
    env = make_env(CALCULATOR, split="test")
    made = [ToolCall(("add", "multiply")[n % 2], {"a": n, "b": n + 1}) for n in range(turns)]
    return [(task, [env.dialect.render("", [call]) for call in made]) for task in env.task_ids(count)]


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


def cpu_of(*pids: int) -> float:
    """Processor seconds of processes and those they have started."""
    total = 0.0
    tick = os.sysconf("SC_CLK_TCK")
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            if int(stat.parent.name) in pids or int(words[1]) in pids:
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
        f"{name:<60} {statistics.median(rates):8.0f}/s ({max(rates):.0f})"
        f"   server {statistics.median(server):6.0f} us, client {statistics.median(client):6.0f} us"
    )


def timed(pids: Sequence[int], steps: int, play: Callable[[], Any]) -> tuple[float, float, float]:
    server, client, start = cpu_of(*pids), time.process_time(), time.perf_counter()
    play()
    seconds = time.perf_counter() - start
    spent = time.process_time() - client
    return steps / seconds, (cpu_of(*pids) - server) / steps * 1e6, spent / steps * 1e6


def websocket(steps: int, rounds: int) -> None:
    kinds = {"calls": calls(50), "whole episodes": moves(50)}
    env = make_env(CALCULATOR, split="test")

    def alone(played: Played, n: int) -> None:
        done = 0
        while done < n:
            for task, actions in played:
                env.reset(options={"task": task})
                for action in actions:
                    env.step(action)
                done += len(actions)
                if done >= n:
                    return

    def play(raws: Sequence[Raw], n: int) -> None:
        """Every session's next message goes out when its reply is read, whatever the others wait for."""
        for raw in raws:
            raw.connection.send(next(raw.texts)[1])
        done = 0
        while done < n:
            for raw in raws:
                raw.connection.receive()
                is_step, text = next(raw.texts)
                raw.connection.send(text)
                done += is_step
        for raw in raws:
            raw.connection.receive()

    def measure(name: str, pids: Sequence[int], play: Callable[[int], Any]) -> None:
        play(min(500, steps))
        report(name, [timed(pids, steps, lambda: play(steps)) for _ in range(rounds)])

    for kind, played in kinds.items():
        measure(f"{kind}: the environment alone, in this process", (), partial(alone, played))
    with served() as (url, pid), served() as (second, other):
        for kind, played in kinds.items():
            for count, servers in ((1, {url: pid}), (8, {url: pid}), (8, {url: pid, second: other})):
                raws = [Raw(url, played) for _ in range(count // len(servers)) for url in servers]
                name = f"{kind}: WebSocket, {count} session(s) on {len(servers)} server(s)"
                measure(name, tuple(servers.values()), partial(play, raws))
            env = RemoteEnv(url=url)
            measure(f"{kind}: tir_gym/Remote-v0, 1 session", (pid,), partial(alone, played))
            env.close()


def peer(python: str | None, steps: int, rounds: int) -> None:
    if python is None:
        print("OpenEnv's server: not measured; --openenv names an interpreter that has openenv-core")
        return
    command = [python, str(HERE / "peer_openenv.py"), "--steps", str(steps), "--rounds", str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        report(f"OpenEnv's server and client, {row['sessions']} session(s)", row["rounds"])


def mcp(calls: int, rounds: int) -> None:
    from mcp import Client

    from tir_gym.server.mcp import serve_episode

    arguments = {"a": 1, "b": 2}

    async def play(client: Client, n: int) -> None:
        for _ in range(n):
            await client.call_tool("add", arguments)

    async def measure(target: Any, pid: int, name: str) -> None:
        async with Client(target) as client:
            await client.list_tools()
            await play(client, min(calls, 50))
            rows = []
            for _ in range(rounds):
                server, own, start = cpu_of(pid), time.process_time(), time.perf_counter()
                await play(client, calls)
                seconds, spent = time.perf_counter() - start, time.process_time() - own
                rows.append((calls / seconds, (cpu_of(pid) - server) / calls * 1e6, spent / calls * 1e6))
            report(name, rows)

    async def in_process() -> None:
        bounds = Bounds()
        sessions = Sessions(bounds)
        house = House(Player(Catalogue([CALCULATOR]), sessions), Figures(lambda: 0.0, 1))
        session = sessions.open(CALCULATOR, make_env(CALCULATOR, max_turns=10**9))
        session.env.reset(seed=1)
        session.at_once = runs_at_once(session.env)
        await measure(serve_episode(house, lambda context: session), 0, "MCP, in process")
        await house.close()

    asyncio.run(in_process())
    with served("--max-turns", str(10**9)) as (url, pid):
        raw = Raw(url, (), max_turns=10**9)
        raw.ask("reset", id=1, session=raw.session, seed=1)
        asyncio.run(measure(f"{url}/mcp/{raw.session}", pid, "MCP, streamable HTTP"))


def crowd(count: int, seconds: float) -> None:
    """Every reply is held against the same step played here."""
    env = make_env(CALCULATOR, split="test")
    played = moves(20)
    expected: dict[str, list[Any]] = {}
    for task, actions in played:
        observation, _ = env.reset(options={"task": task})
        expected[task] = [list(observation)]
        expected[task] += [[list(step[0]), step[1]] for step in map(env.step, actions)]
    with served("--max-sessions", str(count)) as (url, pid):
        before = rss_of(pid)
        raws = [Raw(url, played[n % len(played) :] + played[: n % len(played)]) for n in range(count)]
        due = [_expectations(raw.order, expected) for raw in raws]
        opened = rss_of(pid)
        end, steps, rss, start = time.monotonic() + seconds, 0, [], time.monotonic()
        while time.monotonic() < end:
            for raw in raws:
                raw.connection.send(next(raw.texts)[1])
            for raw, wanted in zip(raws, due, strict=True):
                result = json.loads(raw.connection.receive())["result"]
                is_step, value = next(wanted)
                got = [result["observation"], result["reward"]] if is_step else result["observation"]
                assert got == value, (got, value)
                steps += is_step
            rss.append(rss_of(pid))
        print(
            f"{count} sessions for {time.monotonic() - start:.0f} s: {steps} steps, each as it is here; server "
            f"{before:.0f} MiB before, {opened:.0f} with all open, {rss[len(rss) // 2]:.0f} half-way, {rss[-1]:.0f} at "
            f"the end"
        )


def _expectations(order: Played, expected: dict[str, Any]) -> Iterator[tuple[bool, Any]]:
    while True:
        for task, _ in order:
            for number, value in enumerate(expected[task]):
                yield number > 0, value


class Instant:
    """A model that answers at once: the same calls in every episode, then an answer."""

    def __init__(self, turns: int = 10) -> None:
        call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
        self._messages = [{"role": "assistant", "content": None, "tool_calls": [call]}] * (turns - 1)

    def begin(self, env_info: dict[str, Any]) -> None:
        self._left = iter(self._messages)

    def act(self, observation: Any, info: dict[str, Any]) -> Any:
        return next(self._left, "I have added enough.")


def evaluation(rounds: int) -> None:
    def run(name: str, make: Callable[[], Any], pid: int) -> None:
        rows = []
        tasks = [f"test/{n}" for n in range(100)]
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as folder, open_store(f"{folder}/runs.db") as store:
                begun = store.begin_run(str(number), {"agent": "instant"})
                turns = len(tasks) * 4 * 10
                rows.append(
                    timed((pid,) if pid else (), turns, lambda: evaluate(make, Instant, begun, tasks=tasks, repeats=4))  # noqa: B023
                )
        report(name, rows)

    run("evaluation, instant model, here", lambda: make_env(CALCULATOR, split="test"), 0)
    with served() as (url, pid):
        run("evaluation, instant model, over the server", lambda: RemoteEnv(url=url, split="test"), pid)


SECTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "ws": lambda options: websocket(options.steps, options.rounds),
    "openenv": lambda options: peer(options.openenv, options.steps, options.rounds),
    "mcp": lambda options: mcp(options.steps // 10, options.rounds),
    "crowd": lambda options: crowd(options.crowd, options.seconds),
    "eval": lambda options: evaluation(options.rounds),
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
