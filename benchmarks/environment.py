"""How fast and how big is an environment? Ours, and where its interpreter is given, a peer's, in one run.

    python benchmarks/environment.py [--peer-python PATH]

On Assistant-v0, on one core: steps and resets, making a task, snapshots, memory per environment on a world of 3 MB,
eight environments in Gymnasium's SyncVectorEnv, and the time to import the package. Seconds are CPU seconds, the best
of several runs, because a busy machine only ever adds; import is wall time.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym

import tir_gym
from tir_gym.env import ToolEnv

ENV = "tir_gym/Assistant-v0"
TASKS = 40
VECTOR = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, help="interpreter of a venv with `verifiers` installed")
    options = parser.parse_args()
    print(f"tir-gym {tir_gym.__version__}, gymnasium {gym.__version__}, Python {sys.version.split()[0]}")
    _import_time()
    _making()
    steps = _steps()
    _vector()
    _snapshots()
    _memory()
    if options.peer_python:
        _peer(options.peer_python, steps)


def best_of(runs: int, work: Callable[[], Any]) -> float:
    """CPU seconds of the quickest run."""
    found = []
    for _ in range(runs):
        gc.collect()
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def _import_time() -> None:
    def seconds(module: str) -> float:
        command = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return min(
            float(subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout)
            for _ in range(5)
        )

    print(f"import tir_gym: {seconds('tir_gym'):.2f} s, of which gymnasium alone {seconds('gymnasium'):.2f} s")


def _making() -> None:
    env = _env()
    start = time.process_time()
    for number in range(TASKS):
        env.make_task("test", 10_000 + number)
    print(f"making a task, its gold verified: {(time.process_time() - start) / TASKS * 1e3:.1f} ms")


def _steps() -> float:
    """Steps per second with one valid call a step, as the peer is measured, and of whole episodes of the oracle."""
    env = gym.make(ENV, task="test/1")
    actions = _actions(env)

    def steps(step: bool) -> None:
        for _ in range(10):
            env.reset()
            if step:
                for action in actions:
                    env.step(action)

    steps(True)
    seconds = best_of(25, lambda: steps(True)) - best_of(25, lambda: steps(False))
    rate = 10 * len(actions) / seconds
    print(f"steps of one call, {len(actions)} an episode: {rate:,.0f}/s, {1e6 / rate:.0f} us each")
    _episodes()
    return rate


def _episodes() -> None:
    env = gym.make(ENV, split="test")
    scripts = _scripts(_env())

    def play(step: bool) -> None:
        for task, actions in scripts:
            env.reset(options={"task": task})
            if step:
                for action in actions:
                    env.step(action)

    play(True)
    resets = best_of(9, lambda: play(False)) / len(scripts)
    seconds = best_of(9, lambda: play(True)) - resets * len(scripts)
    steps = sum(len(actions) for _, actions in scripts)
    calls = sum(len(action.get("tool_calls", ())) for _, actions in scripts for action in actions)
    print(
        f"whole episodes of the oracle, {len(scripts)} tasks, end states checked: {steps / seconds:,.0f} steps/s, "
        f"{calls / seconds:,.0f} calls/s"
    )
    print(f"reset to a task already made: {resets * 1e3:.3f} ms")


def _vector() -> None:
    """Eight environments in a vector against eight stepped one by one, in turn, so that both meet the same machine."""
    singles = [gym.make(ENV, task="test/1") for _ in range(VECTOR)]
    actions = _actions(singles[0])

    def alone() -> None:
        for env in singles:
            for action in actions:
                env.step(action)

    for copy in (True, False):
        many = gym.make_vec(ENV, VECTOR, "sync", vector_kwargs={"copy": copy}, task="test/1")
        ratios = []
        for _ in range(60):
            for env in singles:
                env.reset()
            many.reset()
            singly = best_of(1, alone)
            ratios.append(singly / best_of(1, lambda many=many: [many.step((a,) * VECTOR) for a in actions]))
        print(
            f"SyncVectorEnv x{VECTOR}, copy={copy}: {statistics.median(ratios):.2f} of the single environment's steps/s"
        )
        many.close()


def _actions(env: gym.Env[Any, Any]) -> list[dict[str, Any]]:
    """Twenty valid messages of one call, reads and writes in turn."""
    cycle = [
        tir_gym.ToolCall("GetReminders"),
        tir_gym.ToolCall("CurrentWeather", {"location": "Nowhere"}),
        tir_gym.ToolCall("QueryCalendar", {"start_time": "2025-01-06 00:00:00", "end_time": "2025-01-07 00:00:00"}),
        tir_gym.ToolCall("AddAlarm", {"time": "07:30:00"}),
        tir_gym.ToolCall("FindAlarms", {}),
    ]
    return [env.unwrapped.dialect.render("", [call]) for call in cycle * 4]


def _snapshots() -> None:
    env = _env(world_size=WORLD)
    _, actions = max(_scripts(env), key=lambda one: len(one[1]))
    env.reset(options={"task": _})
    for action in actions[:-1]:
        env.step(action)
    print(
        f"snapshot on a world of 3 MB: {best_of(9, lambda: [env.snapshot() for _ in range(100)]) * 10:.4f} ms; ", end=""
    )
    picture = env.snapshot()
    print(f"restore {best_of(9, lambda: [env.restore(picture) for _ in range(100)]) * 10:.4f} ms; ", end="")
    print(f"fork {best_of(9, lambda: [env.fork() for _ in range(100)]) * 10:.4f} ms")


WORLD = 450
"""People in a world of about 3 MB of JSON; its size is printed."""


def _memory() -> None:
    env = _env(world_size=WORLD)
    env.reset(options={"task": "test/0"})
    size = len(json.dumps(env.task.state))
    tasks = [f"test/{number}" for number in range(50)]
    for task in tasks:
        env.reset(options={"task": task})  # the tasks are made and kept before anything is counted
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    live = []
    for task in tasks:
        other = _env(world_size=WORLD)
        _, info = other.reset(options={"task": task})
        for text, calls in info["oracle"].script()[:-1]:
            other.step(other.dialect.render(text, calls))
        live.append(other)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"memory on a world of {size / 1e6:.1f} MB, episode played: {grown / len(live) / 1024:.0f} KB an environment")


def _peer(python: Path, ours: float) -> None:
    script = Path(__file__).with_name("peer_verifiers.py")
    done = subprocess.run([python, script, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    theirs = found["steps_per_cpu_second"]
    print(
        f"{found['peer']} {found['version']} ToolEnv, instant mock model: {theirs:,.0f} steps per CPU second; ", end=""
    )
    print(f"ours {ours / theirs:.1f} x")


def _env(**options: Any) -> ToolEnv:
    env = gym.make(ENV, split="test", **options).unwrapped
    assert isinstance(env, ToolEnv)
    return env


def _scripts(env: ToolEnv) -> list[tuple[str, list[dict[str, Any]]]]:
    """The oracle's actions on some tasks."""
    found = []
    for number in range(TASKS):
        _, info = env.reset(options={"task": f"test/{number}"})
        found.append((f"test/{number}", [env.dialect.render(*move) for move in info["oracle"].script()]))
    return found


if __name__ == "__main__":
    main()
