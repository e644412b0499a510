"""Playing many episodes: several workers, each with its own environment and agent, every finished episode recorded.

Workers are threads, because agents wait on a network most of the time. What an agent draws comes from (seed, task,
repeat) alone, so an evaluation gives the same traces at any concurrency, in any order, broken off and resumed or not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

from tir_gym.agent import Agent
from tir_gym.env import Action, ToolEnv
from tir_gym.episode import PlayedEpisode, play_episode
from tir_gym.errors import UsageError
from tir_gym.messages import Observation, assistant_message
from tir_gym.metrics import Summary, summarise

if TYPE_CHECKING:
    from tir_gym.store import Run

OnEpisode: TypeAlias = Callable[[PlayedEpisode, str, int], None]

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
"""How long workers get to come to the end of their turn when an evaluation breaks off."""


def evaluate(
    make_env: Callable[[], ToolEnv],
    make_agent: Callable[[], Agent],
    run: Run,
    *,
    tasks: Sequence[str],
    repeats: int = 1,
    concurrency: int = 1,
    seed: int = 0,
    on_episode: OnEpisode | None = None,
) -> Summary:
    """Play every task `repeats` times and record each episode when it ends; what the run has already is not replayed.

    The oracle plays each task once as well, under the same reward, so that returns can be told as a share of its.

    Args:
        make_env: An environment without wrappers; called once per worker, in the worker.
        make_agent: The agent; likewise.
        run: Where episodes go; its config's `agent` is written into the traces. Marked as finished at the end.
        tasks: Task ids, each once.
        repeats: Attempts at each task.
        concurrency: Number of workers.
        seed: Seed of the agents' randomness.
        on_episode: Called with each episode after it was recorded, its task id and repeat; one call at a time.

    Returns:
        Figures of all episodes of the run, earlier ones included.

    Raises:
        UsageError: No tasks, a task twice, or a number below 1.
        KeyboardInterrupt: As pressed; episodes finished by then are recorded, the others can be resumed.
        Exception: A bug of an agent or `on_episode`, as raised; likewise.
    """
    for name, value in (("repeats", repeats), ("concurrency", concurrency)):
        if value < 1:
            raise UsageError(f"{name}={value}: give at least 1")
    if not tasks:
        raise UsageError("no tasks to evaluate; give at least one task id")
    most, count = Counter(tasks).most_common(1)[0]
    if count > 1:
        raise UsageError(f"task {most} is given {count} times; give it once and raise repeats={repeats}")
    done = run.done()
    # Attempts at one task follow each other, so that it is made ready once.
    jobs = [(task, repeat) for task in tasks for repeat in range(repeats) if (task, repeat) not in done]
    if jobs:
        work = _Work(run, jobs, seed, on_episode)
        _supervise(work, [_Worker(make_env, make_agent, work) for _ in range(min(concurrency, len(jobs)))])
    run.finish()
    return summarise(run.episodes(), repeats)


def agent_seed(seed: int, task: str, repeat: int) -> int:
    """Seed of an agent's randomness in one episode, in [0, 2**31)."""
    return int.from_bytes(sha256(f"{seed}/{repeat}/{task}".encode("utf-8", "surrogatepass")).digest()[:4]) >> 1


class _Work:
    """What the workers share: the jobs left, the run, and whether to stop."""

    def __init__(self, run: Run, jobs: Sequence[tuple[str, int]], seed: int, on_episode: OnEpisode | None) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._run = run
        self._jobs = iter(jobs)
        self._seed = seed
        self._on_episode = on_episode
        self._oracle_returns: dict[str, float | None] = dict(run.oracle_returns())
        self._name = None if run.config.get("agent") is None else str(run.config["agent"])
        self._taking, self._recording = threading.Lock(), threading.Lock()
        self._over = False

    def next_job(self) -> tuple[str, int] | None:
        with self._taking:
            return None if self.stop.is_set() else next(self._jobs, None)

    def play(self, env: ToolEnv, agent: Agent, task: str, repeat: int) -> None:
        # The oracle goes first, so that nothing stands between the end of an episode and its record.
        if task not in self._oracle_returns:
            self._oracle_returns[task] = self._oracle_return(env, task)
        seed = agent_seed(self._seed, task, repeat)
        played = play_episode(env, _Stoppable(agent, self.stop), task=task, agent_seed=seed, name=self._name)
        tags = env.task.tags
        with self._recording:
            if self._over:
                return
            self._run.record(played, repeat=repeat, oracle_return=self._oracle_returns[task], tags=tags)
            if self._on_episode is not None:
                self._on_episode(played, task, repeat)

    def _oracle_return(self, env: ToolEnv, task: str) -> float | None:
        """The oracle's return, `None` where the infrastructure failed or the gold is withheld."""
        if env.gold_withheld:
            return None
        trace = play_episode(env, _Stoppable(_Script(), self.stop), task=task).trace
        return None if trace.infra_error is not None else float(sum(turn.reward for turn in trace.turns))

    def fail(self, error: BaseException) -> None:
        """Stop everything because of an error; the first one is the one that is told."""
        with self._taking:
            if self.error is None:
                self.error = error
            self.stop.set()

    def end(self) -> None:
        """Record nothing from now on: whoever owns the run may close its store."""
        with self._recording:
            self._over = True


class _Worker(threading.Thread):
    """Takes jobs until there are none. A daemon, so that an agent that hangs cannot keep the process alive."""

    def __init__(self, make_env: Callable[[], ToolEnv], make_agent: Callable[[], Agent], work: _Work) -> None:
        super().__init__(name="tir-gym-evaluation", daemon=True)
        self._makers = (make_env, make_agent)
        self._work = work
        self._made: list[Any] = []

    def run(self) -> None:
        try:
            for make in self._makers:
                self._made.append(make())
            env, agent = self._made
            while (job := self._work.next_job()) is not None:
                self._play(env, agent, *job)
        except _Stopped:
            pass
        except BaseException as error:
            self._work.fail(error)
        finally:
            self.close()

    def close(self) -> None:
        """Close the agent and the environment, each once; also from outside, to free a worker that hangs."""
        while self._made:
            made = self._made.pop()
            try:
                getattr(made, "close", lambda: None)()
            except Exception:
                _log.exception("closing %s failed", type(made).__name__)

    def _play(self, env: ToolEnv, agent: Agent, task: str, repeat: int) -> None:
        try:
            self._work.play(env, agent, task, repeat)
        except Exception as error:
            error.add_note(f"while playing task {task}, repeat {repeat}")
            raise


class _Stopped(Exception):
    """The evaluation breaks off; the episode being played is dropped."""


class _Stoppable:
    """An agent that stops between two turns when the evaluation does."""

    def __init__(self, agent: Agent, stop: threading.Event) -> None:
        self._agent = agent
        self._stop = stop
        self.needs_gold = bool(getattr(agent, "needs_gold", False))

    @property
    def usage(self) -> dict[str, float]:
        return getattr(self._agent, "usage", {})

    def begin(self, env_info: dict[str, Any]) -> None:
        self._agent.begin(env_info)

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        if self._stop.is_set():
            raise _Stopped
        return self._agent.act(observation, info)


class _Script:
    """Plays the gold trace; `agents/` has the oracle proper, which the core may not know."""

    needs_gold = True

    def begin(self, env_info: dict[str, Any]) -> None:
        self._moves = iter(env_info["oracle"].script())

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        return assistant_message(*next(self._moves, ("Done.", ())))


def _supervise(work: _Work, workers: Sequence[_Worker]) -> None:
    """Run the workers to their end, or stop them because one failed or because of Ctrl-C."""
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers) and not work.stop.is_set():
            _join(workers, 0.2)
    finally:
        # On the way out for whatever reason: nothing here is left running, and nothing recorded any more.
        work.stop.set()
        try:
            _join(workers, _GRACE_SECONDS)
        finally:
            work.end()
        for worker in workers:
            if worker.is_alive():
                _log.warning("an agent or a tool did not come back within %g s; it is left behind", _GRACE_SECONDS)
                worker.close()
    if work.error is not None:
        raise work.error


def _join(workers: Sequence[_Worker], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
