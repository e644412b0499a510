"""Where the environments of many rollouts live: in threads of this process, or elsewhere behind the same few calls.

`Episodes` is what both are made of: environments in the middle of episodes, by number. `EnvironmentWorkers` is what a
scheduler asks for, and `ThreadWorkers` the one without a network; `tir_gym.agents.ray_workers` has the other.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError
from tir_gym.messages import Observation
from tir_gym.records import Json, Trace
from tir_gym.rollout.threads import DaemonThreads

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0
"""How long tools get to come to the end of their turn when everything ends."""


@dataclass(frozen=True)
class Opened:
    """An episode that has begun."""

    handle: Any
    """Names it from now on; opaque, hashable."""
    task_id: str
    observation: Observation
    tools: list[Any] = field(repr=False)
    """In OpenAI's form."""


@dataclass(frozen=True)
class Played:
    """What an environment answered to a turn, without the gold that its `info` explains rewards by."""

    observation: Observation
    reward: float
    parts: dict[str, float]
    """The reward's terms by name."""
    terminated: bool
    truncated: bool
    success: bool | None
    """Once the episode has ended."""
    ending: str | None
    infra_error: dict[str, Json] | None
    weight_version: int
    """Of the weights that sampled the action which this answers, as it was given with it."""


class EnvironmentWorkers(Protocol):
    """Plays the environments' side of many episodes at a time.

    Every call may raise an `InfrastructureError`: the place where the episode lived is gone, and the episode with it.
    """

    async def open(self, *, seed: int | None, task: str | None) -> Opened:
        """Begin an episode: `ToolEnv.reset`."""

    async def step(self, handle: Any, action: str, *, weight_version: int) -> Played:
        """Play a turn: `ToolEnv.step`."""

    async def fork(self, handle: Any) -> Any:
        """The handle of an independent episode in the same state: `ToolEnv.fork`."""

    async def finish(
        self,
        handle: Any,
        *,
        ending: str | None = None,
        failure: tuple[str, str] | None = None,
        agent: str | None = None,
    ) -> Trace:
        """The episode as a record; the handle is let go.

        Args:
            handle: Which.
            ending: The budget that ends it here, if it has not ended itself; see `ToolEnv.truncate`.
            failure: Kind and message of what broke outside the environment; see `ToolEnv.abort`.
            agent: Name to write into the trace.
        """

    def close(self, handle: Any) -> None:
        """Let an episode go, whatever it is doing. Returns at once; unknown handles are none's business."""

    async def shutdown(self) -> None:
        """Let all of them go, and wait for that as long as it may take a tool to come back."""


class Episodes:
    """Environments in the middle of episodes, by number; those that are done with one are used again.

    Threads may share it, as long as no two of them ask for the same episode at once.

    Args:
        make_env: An environment without wrappers.
    """

    def __init__(self, make_env: Callable[[], ToolEnv]) -> None:
        self._make_env = make_env
        self._running: dict[int, ToolEnv] = {}
        self._forks: set[int] = set()
        self._free: list[ToolEnv] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are running."""
        return len(self._running)

    def open(self, seed: int | None, task: str | None) -> Opened:
        with self._lock:
            env = self._free.pop() if self._free else None
        if env is None:
            env = self._make_env()
        try:
            observation, info = env.reset(seed=seed, options=None if task is None else {"task": task})
        except BaseException:
            env.close()
            raise
        return Opened(self._keep(env), info["task_id"], observation, info["tools"])

    def step(self, number: int, action: str, weight_version: int) -> Played:
        observation, reward, terminated, truncated, info = self._env(number).step(action)
        return Played(
            observation=observation,
            reward=float(reward),
            parts=dict(info["match"].parts) if "match" in info else {},
            terminated=terminated,
            truncated=truncated,
            success=info.get("success"),
            ending=info.get("ending"),
            infra_error=info.get("infra_error"),
            weight_version=weight_version,
        )

    def fork(self, number: int) -> int:
        twin = self._keep(self._env(number).fork())
        self._forks.add(twin)
        return twin

    def finish(self, number: int, ending: str | None, failure: tuple[str, str] | None, agent: str | None) -> Trace:
        env = self._env(number)
        if failure is not None:
            env.abort(*failure)
        elif ending is not None:
            env.truncate(ending)
        trace = env.trace(agent=agent)
        # Whatever broke may be broken still, and forks would add to those that were made.
        again = trace.infra_error is None and number not in self._forks
        self.close(number)
        if again:
            with self._lock:
                self._free.append(env)
        return trace

    def close(self, number: int) -> None:
        env = self._running.pop(number, None)
        self._forks.discard(number)
        if env is not None:
            env.close()

    def close_all(self) -> None:
        for number in list(self._running):
            self.close(number)
        with self._lock:
            self._free.clear()  # closed already, when their episode was done

    def _env(self, number: int) -> ToolEnv:
        env = self._running.get(number)
        if env is None:
            raise InfrastructureError(f"no episode {number} is running here", kind="episode_lost")
        return env

    def _keep(self, env: ToolEnv) -> int:
        number = next(self._numbers)
        self._running[number] = env
        return number


class ThreadWorkers:
    """Environments in this process, each step in a thread, so that tools run while others are sampled.

    Args:
        make_env: An environment without wrappers; called as often as episodes run at the same time, in a thread.
        threads: How many tools, at most, run at the same time.
        step_seconds: A turn, reset or fork that takes longer is an infrastructure failure. A tool that hangs cannot be
            ended from here, so its thread is left to it and another takes its place; tools that run in a sandbox have
            limits of their own, which end them (`Limits.wall_seconds`).
    """

    def __init__(self, make_env: Callable[[], ToolEnv], threads: int, *, step_seconds: float | None = None) -> None:
        self._seconds = step_seconds
        self._episodes = Episodes(make_env)
        self._threads = DaemonThreads(threads)
        self._jobs: set[Future[Any]] = set()
        self._by_episode: dict[Any, Future[Any]] = {}

    async def open(self, *, seed: int | None, task: str | None) -> Opened:
        opened: Opened = await self._made(partial(self._episodes.open, seed, task), lambda made: made.handle)
        return opened

    async def step(self, handle: Any, action: str, *, weight_version: int) -> Played:
        played: Played = await self._of(handle, partial(self._episodes.step, handle, action, weight_version))
        return played

    async def fork(self, handle: Any) -> Any:
        return await self._made(partial(self._episodes.fork, handle), lambda twin: twin, of=handle)

    async def finish(
        self,
        handle: Any,
        *,
        ending: str | None = None,
        failure: tuple[str, str] | None = None,
        agent: str | None = None,
    ) -> Trace:
        trace: Trace = await self._of(handle, partial(self._episodes.finish, handle, ending, failure, agent))
        return trace

    def close(self, handle: Any) -> None:
        job = self._by_episode.pop(handle, None)
        if job is None or job.done():
            self._submit(partial(self._close, handle))
        else:  # no other thread may touch it before the one that plays it has come back
            job.add_done_callback(lambda _: self._close(handle))

    async def shutdown(self) -> None:
        jobs = list(self._jobs)
        _, hanging = await asyncio.get_running_loop().run_in_executor(None, wait_for, jobs, _GRACE_SECONDS)
        if hanging:
            _log.warning("%d tools did not come back within %g s; they are left behind", len(hanging), _GRACE_SECONDS)
        self._episodes.close_all()
        self._threads.stop()

    def _submit(self, job: Callable[[], Any]) -> Future[Any]:
        future = self._threads.submit(job)
        self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)
        return future

    async def _of(self, handle: Any, job: Callable[[], Any]) -> Any:
        if handle in self._by_episode:
            raise InfrastructureError("its last tool has not come back", kind="tool_timeout")
        return await self._run(job, handle)

    async def _run(self, job: Callable[[], Any], handle: Any = None) -> Any:
        """Run a job in a thread; its time begins when it does, not while it waits for a thread."""
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def timed() -> Any:
            loop.call_soon_threadsafe(begun.set)
            return job()

        future = self._submit(timed if self._seconds is not None else job)
        if handle is not None:
            self._by_episode[handle] = future
        try:
            result = asyncio.wrap_future(future)
            if self._seconds is not None:
                await begun.wait()
            async with asyncio.timeout(self._seconds) as limit:
                return await result
        except TimeoutError as error:
            if not limit.expired():
                raise  # the tool's own
            self._threads.replace_one()
            raise InfrastructureError(f"no answer within {self._seconds:g} s", kind="tool_timeout") from error
        finally:
            future.cancel()  # if it waits for a thread and nobody waits for it
            if future.done():
                self._by_episode.pop(handle, None)

    async def _made(self, job: Callable[[], Any], handle_of: Callable[[Any], Any], of: Any = None) -> Any:
        """Run what makes an episode; if nobody waits for it any more, the episode is closed as soon as it is there."""
        made: list[Any] = []
        abandoned = threading.Event()

        def make() -> Any:
            made.append(job())
            if abandoned.is_set():
                self._close(handle_of(made[0]))
            return made[0]

        try:
            return await (self._run(make) if of is None else self._of(of, make))
        except BaseException:
            abandoned.set()
            if made:
                self._close(handle_of(made[0]))
            raise

    def _close(self, handle: Any) -> None:
        try:
            self._episodes.close(handle)
        except Exception:
            _log.exception("closing an environment failed")
