"""Environments on many machines: the scheduler's `EnvironmentWorkers` as actors of a Ray cluster.

    ray.init(address="auto")
    workers = RayWorkers(make_env, workers=16)
    async with Scheduler(workers, policy, tokenizer) as scheduler:
        ...
    await workers.shutdown()

An episode stays in the actor where it began, and a new one begins where fewest are. Where a machine is lost, its
episodes fail as infrastructure, which the scheduler answers by beginning them again elsewhere, with the same seeds; a
new actor takes the place of the one that was lost as soon as some machine has room for it. Nothing here places, starts
or watches machines: that is Ray's.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import InfrastructureError, MissingExtra, UsageError
from tir_gym.records import Trace
from tir_gym.rollout.workers import Episodes, Opened, Played

_AGAIN_SECONDS = 1.0
"""Before an actor that could not start is started again."""
_LOOK_SECONDS = 0.02
"""Between two looks whether an actor has started, where none is there."""


class RayWorkers:
    """Environments in actors.

    Args:
        make_env: An environment without wrappers; called in the actors, where what it needs must be installed.
        workers: How many actors.
        threads: How many tools, at most, run at the same time in each.
        step_seconds: A turn, reset or fork that takes longer, the way there and back included, is an infrastructure
            failure.
        options: For Ray: what an actor needs, such as `{"num_cpus": 2}` or `{"resources": {"sandboxes": 1}}`.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: No cluster is connected, or a number that cannot be.
    """

    def __init__(
        self,
        make_env: Callable[[], ToolEnv],
        workers: int,
        *,
        threads: int = 8,
        step_seconds: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("environments on a cluster need Ray: pip install 'tir-gym[ray]'") from error
        if workers < 1 or threads < 1:
            raise UsageError(f"workers={workers}, threads={threads}: give at least 1 of each")
        if not ray.is_initialized():
            raise UsageError(
                "no Ray cluster is connected; call ray.init() first, ray.init(address='auto') for one's own"
            )
        self._ray = ray
        self._seconds = step_seconds
        # Ray holds back what is asked of an actor that it starts again, for as long as no machine has room. Only one
        # that is lost for good fails at once, so new ones are made here.
        settings = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD", **(options or {})}
        self._actor_class = ray.remote(_Actor).options(max_concurrency=threads + 1, **settings)
        self._make_env = make_env
        self._workers = [_Worker() for _ in range(workers)]
        for worker in self._workers:
            self._start(worker)

    @property
    def loads(self) -> list[int]:
        """Episodes of each worker."""
        return [worker.load for worker in self._workers]

    async def started(self) -> None:
        """Wait until all workers are there; episodes can begin before that.

        Raises:
            InfrastructureError: None of them can be started.
        """
        while len(self._there()) < len(self._workers):
            await asyncio.sleep(_LOOK_SECONDS)

    async def open(self, *, seed: int | None, task: str | None) -> Opened:
        while True:
            worker = await self._somewhere()
            actor = worker.actor
            worker.load += 1
            try:
                opened: Opened = await self._made(
                    worker, actor, actor.open.remote(seed, task), lambda made: made.handle
                )
            except BaseException as error:
                worker.load -= 1
                if isinstance(error, InfrastructureError) and error.kind == "worker_lost":
                    continue  # no episode had begun there
                raise
            handle = _Handle(worker, actor, opened.handle)
            return Opened(handle, opened.task_id, opened.observation, opened.tools)

    async def step(self, handle: Any, action: str, *, weight_version: int) -> Played:
        reply = handle.actor.step.remote(handle.number, action, weight_version)
        played: Played = await self._answer(handle.worker, handle.actor, reply)
        return played

    async def fork(self, handle: Any) -> Any:
        worker, actor = handle.worker, handle.actor
        worker.load += 1
        try:
            made = await self._made(worker, actor, actor.fork.remote(handle.number), lambda number: number)
        except BaseException:
            worker.load -= 1
            raise
        return _Handle(worker, actor, made)

    async def finish(
        self,
        handle: Any,
        *,
        ending: str | None = None,
        failure: tuple[str, str] | None = None,
        agent: str | None = None,
    ) -> Trace:
        reply = handle.actor.finish.remote(handle.number, ending, failure, agent)
        trace: Trace = await self._answer(handle.worker, handle.actor, reply)
        self._let_go(handle)
        return trace

    def close(self, handle: Any) -> None:
        if self._let_go(handle) and self._ray.is_initialized():
            handle.actor.close.remote(handle.number)

    async def shutdown(self) -> None:
        for worker in self._workers:
            worker.ready = False
            self._ray.kill(worker.actor)

    async def _somewhere(self) -> _Worker:
        """Of the workers that are there, the one with fewest episodes; waits until there is one."""
        while not (there := self._there()):
            await asyncio.sleep(_LOOK_SECONDS)
        return min(there, key=lambda worker: worker.load)

    def _there(self) -> list[_Worker]:
        """The workers that are there; those that were lost are started again."""
        for worker in self._workers:
            if worker.start_at is not None and time.monotonic() >= worker.start_at:
                self._start(worker)
        reasons = [worker.reason for worker in self._workers if worker.reason is not None]
        if len(reasons) == len(self._workers):
            raise InfrastructureError(f"no worker can be started: {reasons[0]}", kind="no_worker")
        return [worker for worker in self._workers if worker.ready]

    def _start(self, worker: _Worker) -> None:
        worker.start_at = None
        actor = worker.actor = self._actor_class.remote(self._make_env)

        def started(reply: Any) -> None:
            if worker.actor is actor:
                error = reply.exception()
                worker.ready = error is None
                worker.reason = None if error is None else _last_line(error)
                worker.start_at = None if error is None else time.monotonic() + _AGAIN_SECONDS

        actor.there.remote().future().add_done_callback(started)

    def _lost(self, worker: _Worker, actor: Any) -> None:
        if worker.actor is actor and worker.ready:
            worker.ready = False
            worker.start_at = time.monotonic()
            self._ray.kill(actor)  # it may be there still, out of reach

    def _let_go(self, handle: _Handle) -> bool:
        held, handle.held = handle.held, False
        handle.worker.load -= held
        return held

    async def _made(self, worker: _Worker, actor: Any, reply: Any, handle_of: Callable[[Any], Any]) -> Any:
        """What makes an episode; if nobody waits for it any more, the episode is closed as soon as it is there."""

        def drop(made: Any) -> None:
            if made.exception() is None and not isinstance(made.result(), _Failure):
                actor.close.remote(handle_of(made.result()))

        try:
            return await self._answer(worker, actor, reply)
        except (asyncio.CancelledError, InfrastructureError):
            reply.future().add_done_callback(drop)
            raise

    async def _answer(self, worker: _Worker, actor: Any, reply: Any) -> Any:
        from ray.exceptions import RayActorError, RayTaskError

        try:
            async with asyncio.timeout(self._seconds) as limit:
                answer = await asyncio.wrap_future(reply.future())
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise InfrastructureError(f"no answer within {self._seconds:g} s", kind="tool_timeout") from error
        except RayTaskError as error:
            raise error.cause from error  # a mistake or a bug over there, as raised
        except RayActorError as error:
            self._lost(worker, actor)
            raise InfrastructureError(f"a worker was lost: {_first_line(error)}", kind="worker_lost") from error
        if isinstance(answer, _Failure):
            raise InfrastructureError(answer.message, tool=answer.tool, kind=answer.kind)
        return answer


@dataclass(eq=False)
class _Worker:
    actor: Any = None
    ready: bool = False
    """Whether the actor has answered, and was not lost since."""
    start_at: float | None = None
    """When to start another actor; `None` while there is one, or one is on its way."""
    reason: str | None = None
    """Why the last one could not start."""
    load: int = 0


@dataclass(eq=False)
class _Handle:
    worker: _Worker
    actor: Any
    number: int
    held: bool = field(default=True, repr=False)


@dataclass(frozen=True)
class _Failure:
    """An `InfrastructureError` on its way, whole."""

    kind: str
    tool: str | None
    message: str


class _Actor:
    """`Episodes` in a process of Ray's."""

    def __init__(self, make_env: Callable[[], ToolEnv]) -> None:
        self._episodes = Episodes(make_env)
        self._locks: dict[int, threading.Lock] = {}

    def there(self) -> None:
        """Answer."""

    def open(self, seed: int | None, task: str | None) -> Opened | _Failure:
        def begin() -> Opened:
            opened = self._episodes.open(seed, task)
            self._locks[opened.handle] = threading.Lock()
            return opened

        opened: Opened | _Failure = _caught(begin)
        return opened

    def step(self, number: int, action: str, weight_version: int) -> Played | _Failure:
        played: Played | _Failure = self._alone(number, lambda: self._episodes.step(number, action, weight_version))
        return played

    def fork(self, number: int) -> int | _Failure:
        def twin() -> int:
            made = self._episodes.fork(number)
            self._locks[made] = threading.Lock()
            return made

        forked: int | _Failure = self._alone(number, twin)
        return forked

    def finish(
        self, number: int, ending: str | None, failure: tuple[str, str] | None, agent: str | None
    ) -> Trace | _Failure:
        trace: Trace | _Failure = self._alone(number, lambda: self._episodes.finish(number, ending, failure, agent))
        if isinstance(trace, Trace):
            self._locks.pop(number, None)
        return trace

    def close(self, number: int) -> None:
        self._alone(number, lambda: self._episodes.close(number))
        self._locks.pop(number, None)

    def _alone(self, number: int, job: Callable[[], Any]) -> Any:
        """Run a job of an episode when no other one of it runs: one that nobody waits for any more may."""
        lock = self._locks.get(number)
        if lock is None:
            return _Failure("episode_lost", None, f"no episode {number} is running here")
        with lock:
            return _caught(job)


def _caught(job: Callable[[], Any]) -> Any:
    try:
        return job()
    except InfrastructureError as error:
        return _Failure(error.kind, error.tool, str(error))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _last_line(error: BaseException) -> str:
    """What was raised, of an error that tells where it was as well."""
    return str(error).strip().rpartition("\n")[2]
