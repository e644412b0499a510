"""One rollout from its first token to its last: the policy samples, the environment answers, everything is kept.

It is the loop that `tir_gym.rollout` shows, made to wait without holding others up, to end at budgets, to start again
when what it runs on breaks, and to fork. Which rollouts are played when is the scheduler's business.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.episode import PlayedEpisode
from tir_gym.errors import ContextFull, InfrastructureError
from tir_gym.records import Json, Trace
from tir_gym.rollout.branching import Branching, surprise
from tir_gym.rollout.policy import Policy, SamplingParams, TokenOutput
from tir_gym.rollout.prompt import ChatPrompt, ChatTokenizer
from tir_gym.rollout.recording import Recording
from tir_gym.rollout.trajectory import Trajectory
from tir_gym.rollout.workers import EnvironmentWorkers, Played

_keys = itertools.count()
"""Names rollouts to the policy: each of this process another."""


@dataclass(frozen=True)
class Request:
    """A rollout that is wanted."""

    env_seed: int | None = None
    """Seed of the environment, the same for all rollouts of a group: so they play the same task."""
    group_id: str | int = 0
    """Which rollouts it will be compared with."""
    sample: int = 0
    """Which of its group it is."""
    sampling_seed: int | None = None
    """Seed of the policy's randomness, another one for each rollout of a group; `None` leaves it to the engine."""
    task: str | None = None
    """Play the task of that id, instead of one drawn with `env_seed`."""


@dataclass(frozen=True)
class Finished:
    """A rollout that has ended."""

    request: Request
    trajectory: Trajectory
    trace: Trace | None
    """The episode as the environment recorded it; `None` where the infrastructure lost it."""
    forks: int = 0
    """Rollouts that were forked from it and come by themselves."""
    attempts: int = 1
    """How often it was begun."""
    seconds: float = 0.0
    """Wall-clock seconds of the last attempt."""
    turn_seconds: tuple[float, ...] = ()
    """Of each turn: until it was sampled and answered."""

    @property
    def turn_rewards(self) -> tuple[float, ...] | None:
        """What each turn is worth in hindsight, for `Trajectory.with_rewards`; `None` for a rollout that broke."""
        if self.trace is None or self.trajectory.infra_error is not None:
            return None
        return self.trace.turn_rewards

    @property
    def episode(self) -> PlayedEpisode | None:
        """For a run of the store, `run.record(finished.episode, repeat=finished.request.sample)`."""
        if self.trace is None:
            return None
        usage = {"completion_tokens": float(self.trajectory.sampled)}
        return PlayedEpisode(self.trace, self.seconds, self.turn_seconds, usage)


@dataclass(frozen=True)
class Rules:
    """What every rollout of a scheduler keeps to; the fields are told in `Scheduler`."""

    params: SamplingParams
    max_tokens: int | None
    seconds: float | None
    generate_seconds: float | None
    retries: int
    retry_seconds: float
    branching: Branching | None
    append_always: bool
    agent: str | None


@dataclass
class Rollout:
    """A rollout in the middle of its life: an episode somewhere, and what the policy was given so far."""

    request: Request
    name: str
    seed: int | None
    """Of its own randomness."""
    handle: Any
    task_id: str
    prompt: ChatPrompt
    recording: Recording
    turn: int = 0
    generation: int = 0
    parent: str | None = None
    forked_at: int = 0
    turns_forked: int = 0
    forks: int = 0
    turn_seconds: list[float] = field(default_factory=list)
    start: float = 0.0
    """When it was begun, by `time.perf_counter`."""

    def twin(self, handle: Any, number: int) -> Rollout:
        """A fork that samples the turn that is due with other randomness."""
        return Rollout(
            request=self.request,
            name=f"{self.name}.{number}",
            seed=_derived(self.seed, f"fork/{self.turn}/{number}"),
            handle=handle,
            task_id=self.task_id,
            prompt=self.prompt.fork(),
            recording=self.recording.fork(),
            turn=self.turn,
            generation=self.generation + 1,
            parent=self.name,
            forked_at=self.turn,
            turn_seconds=list(self.turn_seconds),
        )


@dataclass
class _End:
    """How a rollout ended."""

    success: bool | None = None
    ending: str | None = None
    truncated: bool = False
    budget: str | None = None
    """The budget of ours that ended it, while the environment would have gone on."""
    infra_error: dict[str, Json] | None = None


class Player:
    """Plays rollouts, many at a time.

    Args:
        workers: Where environments live.
        policy: What samples.
        tokenizer: Its tokens.
        rules: Budgets, retries, forks.
    """

    def __init__(self, workers: EnvironmentWorkers, policy: Policy, tokenizer: ChatTokenizer, rules: Rules) -> None:
        self._workers = workers
        self._policy = policy
        self._tokenizer = tokenizer
        self._rules = rules

    async def play(self, start: Request | Rollout, forked: Callable[[Rollout], None]) -> Finished:
        """Play to the end; again from the beginning if the infrastructure fails, as often as the rules allow.

        A rollout that has forks or is one is not begun again: others share its first turns.

        Args:
            start: A request, or a fork.
            forked: Called with each fork that it grows.

        Raises:
            UsageError: The caller's mistake, such as a prompt that fills the model's whole context.
            Exception: A bug of the policy or an environment, as raised.
        """
        for attempt in range(self._rules.retries + 1):
            if attempt:
                await asyncio.sleep(self._rules.retry_seconds * 2 ** (attempt - 1))
            finished = await self._attempt(start, forked, attempt + 1)
            if finished.trajectory.infra_error is None or finished.forks or isinstance(start, Rollout):
                break
        return finished

    def drop(self, fork: Rollout) -> None:
        """Let a fork go that will not be played."""
        self._workers.close(fork.handle)

    async def _attempt(self, start: Request | Rollout, forked: Callable[[Rollout], None], attempt: int) -> Finished:
        key = f"rollout-{next(_keys)}"
        rollout = start if isinstance(start, Rollout) else None
        began, finished = time.perf_counter(), False
        trace: Trace | None = None
        try:
            try:
                if rollout is None:
                    assert isinstance(start, Request)
                    rollout = await self._open(start)
                rollout.start = began
                end = await self._turns(rollout, key, forked)
            except InfrastructureError as error:
                end = _End(infra_error={"kind": error.kind, "tool": error.tool, "message": str(error)})
            if rollout is not None:
                trace = await self._trace(rollout, end)
                finished = trace is not None
        finally:
            self._policy.release(key)
            if rollout is not None and not finished:
                self._workers.close(rollout.handle)
        if trace is not None and end.budget is not None:
            end.success = trace.success
        return _finished(start, rollout, end, trace, attempt, time.perf_counter() - began)

    async def _open(self, request: Request) -> Rollout:
        opened = await self._workers.open(seed=request.env_seed, task=request.task)
        try:
            prompt = ChatPrompt(self._tokenizer, opened.tools, append_always=self._rules.append_always)
            recording = Recording(opened.task_id, request.group_id)
            recording.extend(prompt.begin(opened.observation))
        except BaseException:
            self._workers.close(opened.handle)
            raise
        return Rollout(
            request=request,
            name=str(request.sample),
            seed=request.sampling_seed,
            handle=opened.handle,
            task_id=opened.task_id,
            prompt=prompt,
            recording=recording,
        )

    async def _turns(self, rollout: Rollout, key: str, forked: Callable[[Rollout], None]) -> _End:
        """Sample and play turns until something ends the rollout."""
        rules, recording = self._rules, rollout.recording
        while True:
            began = time.perf_counter()
            prompt_ids = recording.prompt_ids
            room = rules.params.max_tokens if rules.max_tokens is None else rules.max_tokens - len(prompt_ids)
            if room < 1:
                return _End(ending="max_tokens", truncated=True, budget="max_tokens")
            params = replace(
                rules.params,
                max_tokens=min(room, rules.params.max_tokens),
                seed=_derived(rollout.seed, f"turn/{rollout.turn}"),
            )
            try:
                output = await self._sampled(prompt_ids, params, key)
            except ContextFull:
                if not rollout.turn:
                    raise
                return _End(ending="max_tokens", truncated=True, budget="max_tokens")
            await self._fork(rollout, output, forked)
            played = await self._workers.step(
                rollout.handle, rollout.prompt.text(output.ids), weight_version=output.weight_version
            )
            if played.infra_error is not None:
                return _End(ending=played.ending, truncated=True, infra_error=played.infra_error)
            recording.add(
                output.ids,
                output.logprobs,
                reward=played.reward,
                parts=played.parts,
                weight_version=output.weight_version,
                finish=output.finish,
            )
            rollout.turn += 1
            rollout.turn_seconds.append(time.perf_counter() - began)
            if (end := self._end_after(rollout, output, played, room)) is not None:
                return end
            recording.extend(rollout.prompt.grow(output.ids, played.observation))

    async def _sampled(self, prompt_ids: NDArray[np.int32], params: SamplingParams, key: str) -> TokenOutput:
        seconds = self._rules.generate_seconds
        try:
            async with asyncio.timeout(seconds) as limit:
                output = await self._policy.generate(prompt_ids, params, key=key)
        except TimeoutError as error:
            if not limit.expired():
                raise  # the policy's own
            raise InfrastructureError(f"no turn was sampled within {seconds:g} s", kind="policy_timeout") from error
        if output.finish == "abort":
            raise InfrastructureError("the engine broke a turn off", kind="policy_abort")
        return output

    def _end_after(self, rollout: Rollout, output: TokenOutput, played: Played, room: int) -> _End | None:
        cut = output.finish == "length"
        if played.terminated or played.truncated:
            # An answer that was cut off is none that the policy came to the end of.
            ending = "max_tokens" if cut and played.terminated else played.ending
            return _End(success=played.success, ending=ending, truncated=played.truncated or cut)
        if cut and self._rules.max_tokens is not None and len(output.ids) >= room:
            return _End(ending="max_tokens", truncated=True, budget="max_tokens")
        if self._rules.seconds is not None and time.perf_counter() - rollout.start >= self._rules.seconds:
            return _End(ending="max_seconds", truncated=True, budget="max_seconds")
        return None

    async def _fork(self, rollout: Rollout, output: TokenOutput, forked: Callable[[Rollout], None]) -> None:
        """Grow forks where the turn just sampled says so; they sample it anew."""
        rule = self._rules.branching
        if (
            rule is None
            or rollout.generation >= rule.depth
            or rollout.turns_forked >= rule.turns
            or surprise(output.logprobs) < rule.surprise
        ):
            return
        rollout.turns_forked += 1
        for _ in range(rule.width):
            handle = await self._workers.fork(rollout.handle)
            forked(rollout.twin(handle, rollout.forks))
            rollout.forks += 1

    async def _trace(self, rollout: Rollout, end: _End) -> Trace | None:
        """The environment's record; `None` where the episode was lost with whatever held it."""
        error, failure = end.infra_error, None
        if error is not None:
            failure = (str(error.get("kind")), str(error.get("message")))
        try:
            return await self._workers.finish(
                rollout.handle, ending=end.budget, failure=failure, agent=self._rules.agent
            )
        except InfrastructureError as lost:
            if error is None:
                end.infra_error = {"kind": lost.kind, "tool": lost.tool, "message": str(lost)}
            return None


def _finished(
    start: Request | Rollout, rollout: Rollout | None, end: _End, trace: Trace | None, attempt: int, seconds: float
) -> Finished:
    request = start.request if isinstance(start, Rollout) else start
    recording = rollout.recording if rollout is not None else Recording(request.task or "", request.group_id)
    broke = end.infra_error is not None
    return Finished(
        request=request,
        trajectory=recording.finish(
            success=None if broke else end.success,
            ending="infra_error" if broke else end.ending,
            truncated=end.truncated or broke,
            infra_error=end.infra_error,
            rollout=rollout.name if rollout is not None else str(request.sample),
            parent=rollout.parent if rollout is not None else None,
            forked_at=rollout.forked_at if rollout is not None else 0,
        ),
        trace=trace,
        forks=rollout.forks if rollout is not None else 0,
        attempts=attempt,
        seconds=seconds,
        turn_seconds=tuple(rollout.turn_seconds) if rollout is not None else (),
    )


def _derived(seed: int | None, purpose: str) -> int | None:
    """A seed in [0, 2**63) that depends on both, and on nothing else: not on when or beside what it is used."""
    if seed is None:
        return None
    return int.from_bytes(sha256(f"{seed}/{purpose}".encode()).digest()[:8]) >> 1
