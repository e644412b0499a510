"""Environments in actors of a Ray cluster: a head and two nodes on this machine, one of which is lost in mid-run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spoken_policy import SpokenPolicy
from tiny_tokenizer import TinyTokenizer

from tir_gym.agents.ray_workers import RayWorkers
from tir_gym.envs.lookup import LookupEnv
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.rollout import Branching, Finished, Request, Scheduler, collect

ray = pytest.importorskip("ray", reason="Ray is not installed: make test-ray")

TASKS = [f"train/{number}" for number in range(4)]
REQUESTS = [
    Request(task=task, group_id=task, sample=sample, sampling_seed=100 * number + sample)
    for sample in range(16)
    for number, task in enumerate(TASKS)
]


def make_env() -> LookupEnv:
    return LookupEnv(dialect="hermes", hops=(1, 3))


def slow_env() -> LookupEnv:
    """With tools that take a moment, so that episodes are under way when a node is lost."""

    class Slow(LookupEnv):
        def step(self, action: Any) -> Any:
            time.sleep(0.1)
            return super().step(action)

    return Slow(dialect="hermes", hops=(1, 3))


class Unloadable:
    """A way to make environments that cannot be had in a worker."""

    def __call__(self) -> LookupEnv:
        return make_env()

    def __reduce__(self) -> Any:
        return _missing, ()


def _missing() -> None:
    raise ModuleNotFoundError("not installed over there")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for environments, and two nodes with room for two workers each."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small})
    cluster.with_environments = [cluster.add_node(num_cpus=2, resources={"environments": 2}, **small) for _ in range(2)]
    here = {"PYTHONPATH": str(Path(__file__).parent)}  # workers unpickle what is made in this file
    ray.init(address=cluster.address, runtime_env={"env_vars": here}, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


OPTIONS = {"num_cpus": 1, "resources": {"environments": 1}}


@pytest.fixture(scope="module")
def tokenizer() -> TinyTokenizer:
    return TinyTokenizer()


def by_request(found: list[Finished]) -> dict[Any, Any]:
    return {(f.trajectory.group_id, f.trajectory.rollout): f.trajectory for f in found}


def test_a_cluster_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"ray\.init"):
        RayWorkers(make_env, workers=1)


def test_the_same_rollouts_come_from_a_cluster_forks_and_all(cluster: Any, tokenizer: TinyTokenizer) -> None:
    branching = Branching(width=1, turns=2, depth=2, surprise=0.5)

    async def play(max_tokens: int | None) -> list[Finished]:
        workers = RayWorkers(make_env, workers=2, options=OPTIONS)
        policy = SpokenPolicy(tokenizer, make_env(), TASKS)
        try:
            async with Scheduler(workers, policy, tokenizer, branching=branching, max_tokens=max_tokens) as scheduler:
                return [finished async for finished in scheduler.run(REQUESTS)]
        finally:
            assert sum(workers.loads) == 0
            await workers.shutdown()

    for max_tokens in (None, 150):
        there = asyncio.run(play(max_tokens))
        policy = SpokenPolicy(tokenizer, make_env(), TASKS)
        here = collect(REQUESTS, make_env, policy, tokenizer, branching=branching, max_tokens=max_tokens)
        assert by_request(there) == by_request(here)
        traces = ({(f.request, f.trajectory.rollout): f.trace for f in found} for found in (there, here))
        assert next(traces) == next(traces)


def test_replies_say_which_weights_they_answer(cluster: Any) -> None:
    async def play() -> None:
        workers = RayWorkers(make_env, workers=1, options=OPTIONS)
        opened = await workers.open(seed=None, task=TASKS[0])
        for version in (3, 8):
            twin = await workers.fork(opened.handle)
            assert (await workers.step(twin, "A1", weight_version=version)).weight_version == version
            workers.close(twin)
        assert (await workers.finish(opened.handle, ending="enough")).ending == "enough"
        with pytest.raises(InfrastructureError, match="no episode"):
            await workers.step(opened.handle, "A1", weight_version=1)
        with pytest.raises(UsageError, match="no task 'nonsense'"):
            await workers.open(seed=None, task="nonsense")
        assert workers.loads == [0]
        await workers.shutdown()

    asyncio.run(play())


def test_workers_that_cannot_start_say_why(cluster: Any) -> None:
    async def play() -> None:
        workers = RayWorkers(Unloadable(), workers=1, options=OPTIONS)
        with pytest.raises(InfrastructureError, match=r"no worker can be started: .*not installed over there"):
            await workers.started()
        await workers.shutdown()

    asyncio.run(play())


def test_a_lost_node_loses_no_episode(cluster: Any, tokenizer: TinyTokenizer) -> None:
    policy = SpokenPolicy(tokenizer, make_env(), TASKS)

    async def play() -> list[Finished]:
        workers = RayWorkers(slow_env, workers=4, threads=4, options=OPTIONS)
        await workers.started()
        found: list[Finished] = []
        lost = False
        async with Scheduler(workers, policy, tokenizer, concurrency=16) as scheduler:
            async for finished in scheduler.run(REQUESTS):
                found.append(finished)
                if not lost and len(found) >= 8 and min(workers.loads) > 0:
                    lost = True
                    await asyncio.to_thread(cluster.remove_node, cluster.with_environments[1], allow_graceful=False)
        assert sum(workers.loads) == 0
        await workers.shutdown()
        return found

    found = asyncio.run(play())
    again = [f for f in found if f.attempts > 1]
    print(f"{len(again)} of {len(found)} episodes were begun again")
    assert again, "no episode was under way on the node that was lost"
    assert [f.trajectory.infra_error for f in found] == [None] * len(REQUESTS)
    assert {turn.weight_version for f in found for turn in f.trajectory.turns} == {7}
    here = collect(REQUESTS, make_env, SpokenPolicy(tokenizer, make_env(), TASKS), tokenizer)
    assert by_request(found) == by_request(here)
    assert not policy.held
