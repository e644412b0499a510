"""Many rollouts at once: each goes on as soon as it can, and none waits for the turn of another.

    async with Scheduler(make_env, policy, tokenizer, params=SamplingParams(max_tokens=64)) as scheduler:
        async for finished in scheduler.run(requests):
            ...

Rollouts come in the order in which they finish. What is in each of them depends on its request alone, however many run
beside it, where the engine is `deterministic`: a group shares the environment's seed, and each turn draws with a seed
made of the rollout's own and its number. Only budgets of seconds look at the clock, and they are off unless asked for.

At most `concurrency` rollouts live at a time, and requests are taken as they are needed. A consumer that falls behind
by `backlog` holds everything up, so memory stays bounded. To stop, leave the block, break off the loop or press Ctrl-C:
environments are closed and the policy's keys released before anything else goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.rollout.branching import Branching
from tir_gym.rollout.playing import Finished, Player, Request, Rollout, Rules
from tir_gym.rollout.policy import Policy, SamplingParams
from tir_gym.rollout.prompt import ChatTokenizer
from tir_gym.rollout.workers import EnvironmentWorkers, ThreadWorkers


class Scheduler:
    """Plays rollouts while it is open; `run` may be called again and again, for one step of training after another.

    Args:
        make_env: An environment without wrappers, made once for each rollout that lives at a time and used again; or
            `EnvironmentWorkers`, which then stay the caller's to shut down.
        policy: What samples.
        tokenizer: Its tokens.
        params: How a turn is sampled. Its `seed` is not used, and without `stop_ids`, the tokenizer's end a turn.
        concurrency: How many rollouts live at the same time.
        tool_threads: How many tools, at most, run at the same time. Those that wait are as good as those that compute.
        max_tokens: Length of a whole sequence, prompt and answers of tools included; a turn has at most what is left
            of it. A rollout that needs more is kept, with `ending="max_tokens"` and `truncated`. Turns are the
            environment's budget. The length of the model's context is a good choice.
        seconds: Wall-clock budget of a rollout, looked at between turns: `ending="max_seconds"`.
        generate_seconds: A turn that is not sampled within it is an infrastructure failure.
        step_seconds: Likewise a turn that the environment does not answer, see `ThreadWorkers`; workers of one's own
            have their own limit.
        retries: How often a rollout is begun again, with the same seeds, after an infrastructure failure. After the
            last one it comes as it is, with `infra_error`.
        retry_seconds: Wait before the first retry; twice as long before each further one.
        backlog: Rollouts that may wait for the consumer; `concurrency` by default.
        branching: When a rollout forks; never by default. Forks come before further requests.
        append_always: See `ChatPrompt`.
        agent: Name to write into the traces.

    Raises:
        UsageError: A number that cannot be.
    """

    def __init__(
        self,
        make_env: Callable[[], ToolEnv] | EnvironmentWorkers,
        policy: Policy,
        tokenizer: ChatTokenizer,
        *,
        params: SamplingParams | None = None,
        concurrency: int = 64,
        tool_threads: int = 16,
        max_tokens: int | None = None,
        seconds: float | None = None,
        generate_seconds: float | None = None,
        step_seconds: float | None = None,
        retries: int = 2,
        retry_seconds: float = 0.2,
        backlog: int | None = None,
        branching: Branching | None = None,
        append_always: bool = False,
        agent: str | None = None,
    ) -> None:
        self._backlog = concurrency if backlog is None else backlog
        least = {"concurrency": concurrency, "tool_threads": tool_threads, "backlog": self._backlog}
        for name, value in {**least, "max_tokens": 1 if max_tokens is None else max_tokens}.items():
            if value < 1:
                raise UsageError(f"{name}={value}: give at least 1")
        if retries < 0 or retry_seconds < 0:
            raise UsageError(f"retries={retries}, retry_seconds={retry_seconds}: give 0 or more")
        params = params or SamplingParams()
        self._rules = Rules(
            params=params if params.stop_ids else replace(params, stop_ids=tuple(sorted(tokenizer.stop_ids))),
            max_tokens=max_tokens,
            seconds=seconds,
            generate_seconds=generate_seconds,
            retries=retries,
            retry_seconds=retry_seconds,
            branching=branching,
            append_always=append_always,
            agent=agent,
        )
        self._make_env = make_env
        self._step_seconds = step_seconds
        self._tool_threads = tool_threads
        self._concurrency = concurrency
        self._policy = policy
        self._tokenizer = tokenizer
        self._own: ThreadWorkers | None = None
        self._player: Player | None = None
        self._runs: set[_Run] = set()

    async def __aenter__(self) -> Scheduler:
        workers: Any = self._make_env
        if callable(workers):
            workers = self._own = ThreadWorkers(workers, self._tool_threads, step_seconds=self._step_seconds)
        self._player = Player(workers, self._policy, self._tokenizer, self._rules)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._player = None
        for run in list(self._runs):
            await run.stop()
        if self._own is not None:
            await self._own.shutdown()

    async def run(self, requests: Iterable[Request]) -> AsyncIterator[Finished]:
        """Play rollouts, and give each as soon as it has finished. Several runs at a time do not count each other's.

        Args:
            requests: Taken one by one as there is room for them; there may be no end of them.

        Raises:
            UsageError: The scheduler is not open, or a rollout's prompt fills the model's whole context.
            Exception: A bug of the policy, an environment or `requests`, as raised; nothing is left running.
        """
        if self._player is None:
            raise UsageError("the scheduler is not open; use it as `async with Scheduler(...) as scheduler`")
        run = _Run(self._player, iter(requests), self._concurrency, self._backlog)
        self._runs.add(run)
        try:
            while (finished := await run.next()) is not None:
                yield finished
        finally:
            await run.stop()
            self._runs.discard(run)


def collect(
    requests: Iterable[Request],
    make_env: Callable[[], ToolEnv] | EnvironmentWorkers,
    policy: Policy,
    tokenizer: ChatTokenizer,
    **options: Any,
) -> list[Finished]:
    """Play rollouts to the end, for code that is not asynchronous.

    Args:
        requests: All that are wanted.
        make_env: See `Scheduler`, as for the others.
        policy: What samples.
        tokenizer: Its tokens.
        options: Of `Scheduler`.

    Returns:
        The rollouts in the order of their requests, each followed by its forks.

    Raises:
        UsageError: As `Scheduler`; or an event loop is running here already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_collected(list(requests), Scheduler(make_env, policy, tokenizer, **options)))
    raise UsageError("collect() inside an event loop; use `async for finished in scheduler.run(requests)` there")


async def _collected(requests: list[Request], scheduler: Scheduler) -> list[Finished]:
    order: dict[int, int] = {id(request): i for i, request in enumerate(requests)}
    async with scheduler:
        found = [finished async for finished in scheduler.run(requests)]
    # The same object may stand in the list several times; sorting is stable, so all of them come.
    return sorted(found, key=lambda finished: (order[id(finished.request)], _lineage(finished)))


def _lineage(finished: Finished) -> tuple[int, ...]:
    return tuple(int(number) for number in str(finished.trajectory.rollout).split("."))


class _Run:
    """The rollouts of one call of `run`: those that wait, those that are played, those that wait to be taken."""

    def __init__(self, player: Player, requests: Iterator[Request], concurrency: int, backlog: int) -> None:
        self._player = player
        self._requests = requests
        self._concurrency = concurrency
        self._backlog = backlog
        self._forks: deque[Rollout] = deque()
        self._playing: set[asyncio.Task[Finished]] = set()
        self._finished: deque[Finished] = deque()
        self._change = asyncio.Event()
        self._error: BaseException | None = None
        self._stopped = False

    async def next(self) -> Finished | None:
        """The next rollout to have finished; `None` when all have been given."""
        while True:
            self._start()
            if self._error is not None:
                raise self._error
            if self._finished:
                return self._finished.popleft()
            if not self._playing:
                return None
            self._change.clear()
            await self._change.wait()

    async def stop(self) -> None:
        """End what is under way, and wait for it."""
        self._stopped = True
        playing = list(self._playing)
        for task in playing:
            task.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
        while self._forks:
            self._player.drop(self._forks.pop())

    def _start(self) -> None:
        """Begin as many rollouts as there is room for."""
        while (
            not self._stopped
            and self._error is None
            and len(self._playing) < self._concurrency
            and len(self._playing) + len(self._finished) < self._concurrency + self._backlog
        ):
            try:
                # The youngest fork first: so few are waiting at any time.
                start = self._forks.pop() if self._forks else next(self._requests)
            except StopIteration:
                return
            except Exception as error:
                self._error = error
                return
            task = asyncio.create_task(self._player.play(start, self._forks.append))
            self._playing.add(task)
            task.add_done_callback(partial(self._done, start))

    def _done(self, start: Request | Rollout, task: asyncio.Task[Finished]) -> None:
        self._playing.discard(task)
        if task.cancelled():
            if isinstance(start, Rollout):
                self._player.drop(start)  # it may not have come to its first step
        else:
            error = task.exception()
            if error is None:
                self._finished.append(task.result())
            elif self._error is None:
                self._error = error
        self._start()
        self._change.set()
