"""`tir-gym bench [ID]`: how fast an environment is on this machine, in a few seconds. No agent, one thread.

A quick look, with the oracle's messages made beforehand. Figures to publish come from `make bench`.
"""

from __future__ import annotations

import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tir_gym.cli.options import AsJson, DataDir, EnvArgs, Split, env_options
from tir_gym.cli.printing import heading, number, print_json, print_table
from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.env import Action, ToolEnv

_TASKS = 20
_FORKS = 32


def command(
    id: Annotated[str, typer.Argument(metavar="[ID]", help="Environment id.")] = "tir_gym/Calculator-v0",
    seconds: Annotated[float, typer.Option("--seconds", min=0.05, help="How long to step.")] = 2.0,
    split: Split = "test",
    data_dir: DataDir = None,
    env_arg: EnvArgs = None,
    as_json: AsJson = False,
) -> None:
    """Measure steps per second, making and resetting tasks, snapshots, and memory per environment."""
    from tir_gym.making import make_env

    env = make_env(id, **env_options(split=split, data_dir=data_dir, env_args=env_arg))
    try:
        figures = measure(env, seconds)
    finally:
        env.close()
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    if as_json:
        print_json({"env_id": id, **figures, **machine})
        return
    heading(f"{id}, one thread, Python {machine['python']} on {machine['system']} {machine['machine']}")
    print_table(
        ("figure", "value", "unit"),
        [
            ("steps", number(figures["steps_per_second"], 0), "per second, resets aside"),
            ("episodes", number(figures["episodes_per_second"], 0), "per second, resets included"),
            ("making a task", number(figures["make_task_ms"]), "ms, median, gold replayed"),
            ("reset to a task already made", number(figures["reset_ms"]), "ms, median"),
            ("snapshot", number(figures["snapshot_ms"], 4), "ms, median, in the middle of an episode"),
            ("restore", number(figures["restore_ms"], 4), "ms, median"),
            ("memory", number(figures["kb_per_env"], 1), "KB per forked environment"),
        ],
    )


def measure(env: ToolEnv, seconds: float) -> dict[str, Any]:
    """The figures.

    Args:
        env: Without wrappers; the episode it was playing is lost.
        seconds: How long to step.

    Raises:
        UsageError: The split has no task.
    """
    tasks = env.task_ids(_TASKS)[:_TASKS]
    if not tasks:
        raise UsageError(f"{env.env_id} has no task in the {env.split} split to measure with")
    # Making a task is the first reset less what a second one costs.
    first, again = ([_timed(partial(env.reset, options={"task": task})) for task in tasks] for _ in range(2))
    scripts = {task: _script(env, task) for task in tasks}
    steps, stepping, episodes, whole = _play(env, scripts, seconds)
    longest = max(scripts, key=lambda task: len(scripts[task]))
    env.reset(options={"task": longest})
    for action in scripts[longest][: len(scripts[longest]) // 2]:
        env.step(action)
    snapshots = [_timed(env.snapshot) for _ in range(200)]
    picture = env.snapshot()
    restores = [_timed(partial(env.restore, picture)) for _ in range(200)]
    return {
        "steps_per_second": steps / stepping,
        "episodes_per_second": episodes / whole,
        "make_task_ms": max(0.0, statistics.median(first) - statistics.median(again)),
        "reset_ms": statistics.median(again),
        "snapshot_ms": statistics.median(snapshots),
        "restore_ms": statistics.median(restores),
        "kb_per_env": _memory(env),
        "steps": steps,
        "tasks": len(tasks),
    }


def _script(env: ToolEnv, task: str) -> list[Action]:
    _, info = env.reset(options={"task": task})
    return [env.dialect.render(text, calls) for text, calls in info["oracle"].script()]


def _play(env: ToolEnv, scripts: dict[str, list[Action]], seconds: float) -> tuple[int, float, int, float]:
    """Steps made, seconds in them, episodes played, seconds in all."""
    steps = episodes = 0
    stepping = 0.0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for task, script in scripts.items():
            env.reset(options={"task": task})
            before = time.perf_counter()
            for action in script:
                _, _, terminated, truncated, _ = env.step(action)
                steps += 1
                if terminated or truncated:
                    break
            stepping += time.perf_counter() - before
            episodes += 1
    return steps, stepping, episodes, time.perf_counter() - start


def _memory(env: ToolEnv) -> float:
    """KB that Python allocates for each fork of the running episode."""
    env.fork()  # whatever the first one alone costs
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        forks = [env.fork() for _ in range(_FORKS)]
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return used / len(forks) / 1000


def _timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000
