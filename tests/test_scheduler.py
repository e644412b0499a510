"""Many rollouts at once: what is in each depends on its request alone, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from spoken_policy import SpokenPolicy
from tiny_tokenizer import TinyTokenizer

from tir_gym.advantages.tree import tree
from tir_gym.env import ToolEnv
from tir_gym.envs.lookup import LookupEnv
from tir_gym.errors import ContextFull, InfrastructureError, UsageError
from tir_gym.replay_trace import replay_trace
from tir_gym.rollout import (
    Branching,
    Finished,
    Request,
    SamplingParams,
    Scheduler,
    ThreadWorkers,
    TokenOutput,
    Trajectory,
    collect,
    tree_arguments,
)

TASKS = [f"train/{number}" for number in range(4)]


def make_env() -> LookupEnv:
    return LookupEnv(dialect="hermes", hops=(1, 3))


@pytest.fixture(scope="module")
def tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


@pytest.fixture
def policy(tokenizer: TinyTokenizer) -> SpokenPolicy:
    return SpokenPolicy(tokenizer, make_env(), TASKS)


@pytest.fixture
def sure(tokenizer: TinyTokenizer) -> SpokenPolicy:
    """One that is always right."""
    return SpokenPolicy(tokenizer, make_env(), TASKS, error=0.0)


def requests(samples: int = 6) -> list[Request]:
    return [
        Request(task=task, group_id=task, sample=sample, sampling_seed=100 * number + sample)
        for number, task in enumerate(TASKS)
        for sample in range(samples)
    ]


class Watched(LookupEnv):
    """Counts which of its kind have an episode, forks included."""

    living: set[int] = set()  # noqa: RUF012
    most = 0

    def __init__(self) -> None:
        super().__init__(dialect="hermes", hops=(1, 3))

    def reset(self, **options: Any) -> Any:
        found = super().reset(**options)
        self._count()
        return found

    def fork(self) -> ToolEnv:
        twin = super().fork()
        assert isinstance(twin, Watched)
        twin._count()
        return twin

    def close(self) -> None:
        super().close()
        Watched.living.discard(id(self))

    def _count(self) -> None:
        Watched.living.add(id(self))
        Watched.most = max(Watched.most, len(Watched.living))


@pytest.fixture
def watched() -> Iterator[type[Watched]]:
    Watched.living, Watched.most = set(), 0
    yield Watched
    assert not Watched.living, "an episode was left open"


# What a rollout is.


def test_rollouts_do_not_depend_on_what_runs_beside_them(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    branching = Branching(width=1, turns=2, depth=2, surprise=0.52)
    alone, beside = (
        collect(requests(), make_env, policy, tokenizer, concurrency=concurrency, branching=branching)
        for concurrency in (1, 16)
    )
    assert policy.most > 4  # they did run beside each other
    assert [f.trajectory for f in alone] == [f.trajectory for f in beside]
    assert [f.trace for f in alone] == [f.trace for f in beside]
    assert len(alone) == len(requests()) + sum(f.forks for f in alone) > len(requests())
    assert {f.trajectory.success for f in alone} == {True, False}


def test_a_group_shares_its_task_and_never_its_randomness(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    policy = SpokenPolicy(tokenizer, make_env(), [_task_of_seed(3)], error=0.5)
    group = [Request(env_seed=3, group_id=3, sample=sample, sampling_seed=sample) for sample in range(8)]
    found = collect(group, make_env, policy, tokenizer)
    assert {f.trajectory.task_id for f in found} == {_task_of_seed(3)}
    assert len(set(policy.seeds)) == len(policy.seeds) == sum(len(f.trajectory.turns) for f in found)
    assert len({f.trajectory.model_dump_json() for f in found}) > 4


def test_the_record_is_that_of_the_episode(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    for finished in collect(requests(), make_env, policy, tokenizer, agent="spoken"):
        trajectory, trace = finished.trajectory, finished.trace
        assert trace is not None
        assert replay_trace(trace, make_env()).same
        assert [turn.action for turn in trace.turns] == [_text(tokenizer, turn.output_ids) for turn in trajectory.turns]
        assert [(turn.reward, turn.parts) for turn in trace.turns] == [(t.reward, t.parts) for t in trajectory.turns]
        assert (trajectory.success, trajectory.ending) == (trace.success, trace.ending)
        assert finished.turn_rewards == trace.turn_rewards
        assert len(trace.turn_rewards) == len(finished.turn_seconds) == len(trajectory.turns)
        assert {turn.weight_version for turn in trajectory.turns} == {7}
        assert trace.provenance.agent == "spoken"


def test_the_oracle_succeeds_in_tokens(tokenizer: TinyTokenizer, sure: SpokenPolicy) -> None:
    found = collect(requests(1), make_env, sure, tokenizer)
    assert [f.trajectory.success for f in found] == [True] * 4
    assert not sure.held


# Budgets.


@pytest.mark.parametrize("room", range(1, 60, 7))
def test_a_rollout_that_grows_too_long_is_kept_and_marked(
    tokenizer: TinyTokenizer, sure: SpokenPolicy, room: int
) -> None:
    (whole,) = collect(requests(1)[:1], make_env, sure, tokenizer)
    first = len(whole.trajectory.flat().prompt_ids)
    (cut,) = collect(requests(1)[:1], make_env, sure, tokenizer, max_tokens=first + room)
    trajectory = cut.trajectory
    flat = trajectory.flat()
    assert len(flat.prompt_ids) + len(flat.response_ids) <= first + room
    whole_ids = whole.trajectory.flat().response_ids
    assert flat.response_ids.tolist() == whole_ids[: len(flat.response_ids)].tolist()
    if len(flat.response_ids) < len(whole_ids):
        assert (trajectory.ending, trajectory.truncated, trajectory.success) == ("max_tokens", True, False)
    assert cut.turn_rewards is not None
    assert len(cut.turn_rewards) == len(trajectory.turns)
    assert cut.trace is not None
    assert replay_trace(cut.trace, make_env()).same
    assert not sure.held


def test_a_prompt_without_room_is_a_rollout_without_turns(tokenizer: TinyTokenizer, sure: SpokenPolicy) -> None:
    (finished,) = collect(requests(1)[:1], make_env, sure, tokenizer, max_tokens=3)
    assert (finished.trajectory.turns, finished.trajectory.ending) == ((), "max_tokens")


def test_a_turn_has_its_own_budget(tokenizer: TinyTokenizer, sure: SpokenPolicy) -> None:
    (finished,) = collect(requests(1)[:1], make_env, sure, tokenizer, params=SamplingParams(max_tokens=3))
    assert {len(turn.output_ids) for turn in finished.trajectory.turns} == {3}
    assert (finished.trajectory.ending, finished.trajectory.truncated) == ("max_tokens", True)


def test_seconds_end_a_rollout_between_turns(tokenizer: TinyTokenizer, sure: SpokenPolicy) -> None:
    task = next(t for t in requests(1) if _hops(t.task) > 1)
    (finished,) = collect([task], make_env, sure, tokenizer, seconds=1e-9)
    assert (finished.trajectory.ending, len(finished.trajectory.turns)) == ("max_seconds", 1)
    assert finished.trace is not None
    assert finished.trace.ending == "max_seconds"


def test_a_conversation_that_outgrows_the_model_ends(tokenizer: TinyTokenizer) -> None:
    class Small(SpokenPolicy):
        async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
            if len(prompt_ids) > limit:
                raise ContextFull("the prompt fills the context")
            return await super().generate(prompt_ids, params, key=key)

    task = next(t for t in requests(1) if _hops(t.task) > 1)
    small = Small(tokenizer, make_env(), TASKS, error=0.0)
    limit = 10**6
    (whole,) = collect([task], make_env, small, tokenizer)
    limit = len(whole.trajectory.flat().prompt_ids)
    (finished,) = collect([task], make_env, small, tokenizer)
    assert (finished.trajectory.ending, len(finished.trajectory.turns)) == ("max_tokens", 1)
    limit = 1
    with pytest.raises(UsageError, match="fills the context"):
        collect([task], make_env, small, tokenizer)
    assert not small.held


# Failures.


class Breaking(SpokenPolicy):
    """An engine that dies at some turns: at the numbers given, counted over all."""

    def __init__(self, *args: Any, at: set[int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._turns = count()
        self._at = at

    async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
        if next(self._turns) in self._at:
            raise InfrastructureError("the engine is gone", kind="engine_died")
        return await super().generate(prompt_ids, params, key=key)


def test_a_failure_of_the_engine_is_retried_to_the_same_end(
    tokenizer: TinyTokenizer, policy: SpokenPolicy, watched: type[Watched]
) -> None:
    broken = Breaking(tokenizer, make_env(), TASKS, at={1, 5, 9, 17})
    sound = collect(requests(), watched, policy, tokenizer, concurrency=3)
    again = collect(requests(), watched, broken, tokenizer, concurrency=3, retries=4, retry_seconds=0.0)
    assert [f.trajectory for f in again] == [f.trajectory for f in sound]
    assert sum(f.attempts - 1 for f in again) == 4
    assert not broken.held


def test_what_fails_to_the_last_comes_masked(tokenizer: TinyTokenizer, watched: type[Watched]) -> None:
    broken = Breaking(tokenizer, make_env(), TASKS, at={1, 2, 3}, error=0.0)
    task = next(t for t in requests(1) if _hops(t.task) > 1)
    (finished,) = collect([task], watched, broken, tokenizer, retries=0)
    assert finished.trajectory.infra_error == {"kind": "engine_died", "tool": None, "message": "the engine is gone"}
    assert (finished.trajectory.ending, finished.trajectory.success) == ("infra_error", None)
    assert len(finished.trajectory.turns) == 1
    assert finished.turn_rewards is None
    assert finished.trace is not None
    assert finished.trace.infra_error == finished.trajectory.infra_error


def test_a_tool_that_breaks_is_retried_then_masked(tokenizer: TinyTokenizer, sure: SpokenPolicy) -> None:
    broken: list[ToolEnv] = []

    class Fragile(LookupEnv):
        def step(self, action: Any) -> Any:
            if self.task.id == TASKS[0]:
                broken.append(self)
                self.sandbox.close()
                self._episode.sandbox = Gone()  # type: ignore[union-attr,assignment]
            return super().step(action)

    class Gone:
        def run_turn(self, calls: Any) -> Any:
            raise InfrastructureError("the sandbox is gone", kind="sandbox_died")

        def close(self) -> None: ...

    found = collect(
        requests(1), lambda: Fragile(dialect="hermes", hops=(1, 3)), sure, tokenizer, retries=2, retry_seconds=0.0
    )
    assert [f.trajectory.infra_error is None for f in found] == [False, True, True, True]
    assert found[0].trajectory.infra_error is not None
    assert found[0].trajectory.infra_error["kind"] == "sandbox_died"
    assert found[0].attempts == 3
    assert len({id(env) for env in broken}) == 3, "an environment that broke was used again"


def test_an_environment_that_cannot_be_had_is_an_infrastructure_failure(
    tokenizer: TinyTokenizer, sure: SpokenPolicy
) -> None:
    def none() -> LookupEnv:
        raise InfrastructureError("no engine here", kind="engine_missing")

    (finished,) = collect(requests(1)[:1], none, sure, tokenizer, retries=1, retry_seconds=0.0)
    assert finished.trajectory.infra_error is not None
    assert finished.trajectory.infra_error["kind"] == "engine_missing"
    assert (finished.trace, finished.attempts, finished.trajectory.turns) == (None, 2, ())


def test_a_tool_that_hangs_holds_nobody_up(tokenizer: TinyTokenizer, sure: SpokenPolicy) -> None:
    release = threading.Event()

    class Hanging(LookupEnv):
        def step(self, action: Any) -> Any:
            if self.task.id == TASKS[0]:
                release.wait(30)
            return super().step(action)

    async def play() -> list[Finished]:
        options: dict[str, Any] = {"tool_threads": 1, "step_seconds": 0.2, "retries": 1, "retry_seconds": 0.0}
        async with Scheduler(lambda: Hanging(dialect="hermes", hops=(1, 3)), sure, tokenizer, **options) as scheduler:
            found = [finished async for finished in scheduler.run(requests(1))]
            release.set()
            return found

    found = asyncio.run(play())
    kinds = {f.request.task: f.trajectory.infra_error and f.trajectory.infra_error["kind"] for f in found}
    assert kinds[TASKS[0]] == "tool_timeout"
    assert kinds[TASKS[3]] is None


def test_an_engine_that_does_not_answer_is_an_infrastructure_failure(tokenizer: TinyTokenizer) -> None:
    class Silent(SpokenPolicy):
        async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
            if not self.seeds:
                self.seeds.append(None)
                self.held[str(key)] += 1
                await asyncio.sleep(60)
            return await super().generate(prompt_ids, params, key=key)

    silent = Silent(tokenizer, make_env(), TASKS)
    found = collect(requests(1), make_env, silent, tokenizer, generate_seconds=2.0, retry_seconds=0.0)
    assert max(f.attempts for f in found) == 2
    assert [f.trajectory.infra_error for f in found] == [None] * 4
    silent.seeds = []
    (lost,) = collect(requests(1)[:1], make_env, silent, tokenizer, generate_seconds=0.1, retries=0)
    assert lost.trajectory.infra_error is not None
    assert lost.trajectory.infra_error["kind"] == "policy_timeout"
    assert not silent.held


def test_bugs_are_raised_and_nothing_is_left(
    tokenizer: TinyTokenizer, policy: SpokenPolicy, watched: type[Watched]
) -> None:
    class Buggy(SpokenPolicy):
        async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
            output = await super().generate(prompt_ids, params, key=key)
            if len(self.seeds) > 20:
                raise ZeroDivisionError("a bug")
            return output

    buggy = Buggy(tokenizer, make_env(), TASKS)
    with pytest.raises(ZeroDivisionError):
        collect(requests(), watched, buggy, tokenizer, concurrency=5)
    assert not buggy.held


# Back-pressure, and breaking off.


def test_at_most_so_many_live_and_a_slow_consumer_holds_them_up(
    tokenizer: TinyTokenizer, policy: SpokenPolicy, watched: type[Watched]
) -> None:
    taken = 0

    def endless() -> Iterator[Request]:
        nonlocal taken
        for number in count():
            taken += 1
            yield Request(task=TASKS[number % 4], group_id=number, sampling_seed=number)

    async def play() -> None:
        async with Scheduler(watched, policy, tokenizer, concurrency=4, backlog=3) as scheduler:
            number = 0
            async for _ in scheduler.run(endless()):
                number += 1
                for _ in range(30):
                    await asyncio.sleep(0.001)  # a consumer with other things to do
                assert taken <= number + 4 + 3
                if number == 20:
                    break

    asyncio.run(play())
    assert watched.most <= 4
    assert not policy.held


def test_leaving_in_the_middle_closes_everything(
    tokenizer: TinyTokenizer, policy: SpokenPolicy, watched: type[Watched]
) -> None:
    class Slow(Watched):
        def step(self, action: Any) -> Any:
            time.sleep(0.02)
            return super().step(action)

    async def play() -> None:
        branching = Branching(width=3, surprise=0.0)
        async with Scheduler(Slow, policy, tokenizer, concurrency=6, tool_threads=2, branching=branching) as scheduler:
            async for _ in scheduler.run(requests()):
                break
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(play())
    assert not policy.held
    assert watched.most > 6  # forks that waited are among those that were closed


def test_workers_of_ones_own_go_on_without_what_was_broken_off(
    tokenizer: TinyTokenizer, policy: SpokenPolicy, watched: type[Watched]
) -> None:
    async def play() -> None:
        workers = ThreadWorkers(watched, threads=2)
        for _ in range(3):
            branching = Branching(width=3, surprise=0.0)
            async with Scheduler(workers, policy, tokenizer, concurrency=6, branching=branching) as scheduler:
                async for _ in scheduler.run(requests()):
                    break
            for _ in range(500):  # a tool that was running is waited for
                if not watched.living:
                    break
                await asyncio.sleep(0.01)
            assert not watched.living
        await workers.shutdown()

    asyncio.run(play())
    assert not policy.held


def test_ctrl_c_leaves_nothing_running() -> None:
    program = Path(__file__).with_name("interrupted_rollouts.py")
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "playing\n"
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert json.loads(said) == {"living": 0, "held": 0, "threads": [], "interrupted": True}
    assert process.returncode == 0


def test_a_scheduler_plays_step_after_step(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    made: list[LookupEnv] = []

    def counted() -> LookupEnv:
        made.append(make_env())
        return made[-1]

    async def play() -> list[list[Trajectory]]:
        async with Scheduler(counted, policy, tokenizer, concurrency=3) as scheduler:
            return [
                sorted([f.trajectory async for f in scheduler.run(requests(2))], key=lambda t: (t.group_id, t.rollout))
                for _ in range(3)
            ]

    first, second, third = asyncio.run(play())
    assert first == second == third
    assert len(made) <= 3


# Forks.


def test_forks_are_not_kept_when_they_have_ended(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    every: WeakSet[LookupEnv] = WeakSet()

    class Remembered(LookupEnv):
        def reset(self, **options: Any) -> Any:
            every.add(self)
            return super().reset(**options)

        def fork(self) -> ToolEnv:
            twin = super().fork()
            assert isinstance(twin, Remembered)
            every.add(twin)
            return twin

    def made() -> Remembered:
        return Remembered(dialect="hermes", hops=(1, 3))

    async def play() -> None:
        branching = Branching(width=3, surprise=0.0)
        async with Scheduler(made, policy, tokenizer, concurrency=4, branching=branching) as scheduler:
            assert len([finished async for finished in scheduler.run(requests())]) == 4 * len(requests())
            gc.collect()
            assert len(every) <= 4

    asyncio.run(play())


def test_forks_share_the_turns_before_and_make_a_tree(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    found = collect(
        requests(3), make_env, policy, tokenizer, branching=Branching(width=2, turns=2, depth=2, surprise=0.5)
    )
    batch = [f.trajectory for f in found]
    by_name = {(t.group_id, t.rollout): t for t in batch}
    forks = [t for t in batch if t.parent is not None]
    assert any(t.forked_at > 0 for t in forks)
    assert any(by_name[t.group_id, t.parent].parent is not None for t in forks), "no fork of a fork"
    for fork in forks:
        parent = by_name[fork.group_id, fork.parent]
        assert fork.turns[: fork.forked_at] == parent.turns[: fork.forked_at]
        assert len(parent.turns) > fork.forked_at, "a fork of a turn that the parent has not played"
    for finished in found:
        assert finished.trace is not None
        assert replay_trace(finished.trace, make_env()).same
        assert len(finished.turn_seconds) == len(finished.trajectory.turns)
    advantages = tree([t.turn_rewards for t in batch], [t.group_id for t in batch], **tree_arguments(batch))
    assert [len(row) for row in advantages] == [len(t.turns) for t in batch]
    for i, fork in enumerate(batch):
        if fork.parent is not None:
            parent_row = advantages[batch.index(by_name[fork.group_id, fork.parent])]
            assert advantages[i][: fork.forked_at] == parent_row[: fork.forked_at]


def test_only_surprising_turns_fork(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    def forks(surprise: float) -> list[Trajectory]:
        found = collect(requests(3), make_env, policy, tokenizer, branching=Branching(surprise=surprise))
        return [f.trajectory for f in found if f.trajectory.parent is not None]

    assert forks(10.0) == []
    assert all(t.forked_at == 0 for t in forks(0.0))
    assert 0 < len(forks(0.55)) < len(forks(0.0)) == len(requests(3))


def test_a_fork_without_its_parent_is_refused() -> None:
    orphan = Trajectory(task_id="t", group_id=1, rollout="0.0", parent="0", forked_at=1)
    with pytest.raises(UsageError, match="forked from 0, which is not in the batch"):
        tree_arguments([orphan])


# Misuse.


@pytest.mark.parametrize("option", ["concurrency", "tool_threads", "max_tokens", "backlog"])
def test_numbers_that_cannot_be_are_refused(tokenizer: TinyTokenizer, policy: SpokenPolicy, option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}=0"):
        Scheduler(make_env, policy, tokenizer, **{option: 0})  # type: ignore[arg-type]


def test_collect_says_what_to_do_inside_a_loop(tokenizer: TinyTokenizer, policy: SpokenPolicy) -> None:
    async def inside() -> None:
        collect(requests(), make_env, policy, tokenizer)

    with pytest.raises(UsageError, match="async for"):
        asyncio.run(inside())


def _text(tokenizer: TinyTokenizer, ids: Any) -> str:
    plain = [int(id) for id in ids]
    return tokenizer.decode(plain[:-1] if plain[-1] in tokenizer.stop_ids else plain)


def _task_of_seed(seed: int) -> str:
    return str(make_env().reset(seed=seed)[1]["task_id"])


def _hops(task: str | None) -> int:
    assert task is not None
    return len(make_env().prepare(task).oracle.calls)
