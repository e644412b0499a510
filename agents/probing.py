"""How much of the oracle's return can be had by hacking: plays the probes, and reports their best."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tir_gym.agents.oracle import OracleAgent
from tir_gym.agents.probes import PROBE_TYPES
from tir_gym.env import ToolEnv
from tir_gym.episode import play_episode
from tir_gym.errors import UsageError

PROBE_BOUND = 0.35
"""Share of the oracle's return that no probe may reach, on tasks of `PROBED_GOLD_CALLS` or more gold calls."""

PROBED_GOLD_CALLS = 3


@dataclass(frozen=True)
class ProbedTask:
    """What the oracle and the probes got on one task."""

    task_id: str
    gold_calls: int
    oracle: float
    """The oracle's return."""
    returns: dict[str, float]
    """Return of each probe."""

    def share(self, probe: str) -> float:
        """The probe's return as a share of the oracle's."""
        return self.returns[probe] / self.oracle


def probe_tasks(
    make_env: Callable[[], ToolEnv], tasks: Iterable[str], *, min_gold_calls: int = PROBED_GOLD_CALLS
) -> list[ProbedTask]:
    """Play every probe on every task that is long enough.

    Args:
        make_env: Makes the environment, without wrappers; called once.
        tasks: Task ids; those of fewer gold calls are passed over.
        min_gold_calls: See above.

    Raises:
        UsageError: The oracle's return on a task is not positive, so that shares of it mean nothing.
    """
    env = make_env()
    found = []
    try:
        for task in tasks:
            _, info = env.reset(options={"task": task})
            gold_calls = len(info["oracle"].calls)
            if gold_calls < min_gold_calls:
                continue
            best = oracle_return(env, task)
            if best <= 0:
                raise UsageError(
                    f"task {task} of {env.env_id} pays its oracle {best:g}; "
                    "a task's gold trace must earn more than nothing under the reward that is measured"
                )
            returns = {name: _return(env, name, task) for name in PROBE_TYPES}
            found.append(ProbedTask(task, gold_calls, best, returns))
    finally:
        env.close()
    return found


def measure_probes(make_env: Callable[[], ToolEnv], tasks: Iterable[str]) -> dict[str, float]:
    """The best share of the oracle's return that each probe reaches on one task of three or more gold calls.

    Args:
        make_env: Makes the environment, without wrappers; called once.
        tasks: Task ids; shorter tasks are passed over.

    Returns:
        Largest share over the tasks, by probe; empty where no task is long enough.

    Raises:
        UsageError: The oracle's return on a task is not positive.
    """
    probed = probe_tasks(make_env, tasks)
    if not probed:
        return {}
    return {name: max(task.share(name) for task in probed) for name in PROBE_TYPES}


def oracle_return(env: ToolEnv, task_id: str) -> float:
    """Return of the oracle on a task: the undiscounted sum of its rewards.

    Args:
        env: Without wrappers; the episode it was playing is lost.
        task_id: The task.

    Raises:
        UsageError: No such task, or the task's tools break under its own gold calls.
    """
    trace = play_episode(env, OracleAgent(), task=task_id, name="oracle").trace
    if trace.infra_error is not None:
        raise UsageError(f"task {task_id} of {env.env_id}: the oracle's episode broke: {trace.infra_error['message']}")
    return sum(turn.reward for turn in trace.turns)


def _return(env: ToolEnv, probe: str, task_id: str) -> float:
    trace = play_episode(env, PROBE_TYPES[probe](), task=task_id, name=f"probe:{probe}").trace
    return sum(turn.reward for turn in trace.turns)
