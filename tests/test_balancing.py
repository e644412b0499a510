"""Several places that sample, as one: rollouts stay, loads are even, and a place that breaks loses no episode."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spoken_policy import SpokenPolicy
from tiny_tokenizer import TinyTokenizer

from tir_gym.envs.lookup import LookupEnv
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.rollout import Balanced, IdleMeter, Request, SamplingParams, TokenOutput, collect

TASKS = [f"train/{number}" for number in range(4)]
PARAMS = SamplingParams(max_tokens=4)


def make_env() -> LookupEnv:
    return LookupEnv(dialect="hermes", hops=(1, 3))


class Place:
    """Says its own number, unless it is broken."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.broken = False
        self.keys: Counter[str | None] = Counter()

    async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
        if self.broken:
            raise InfrastructureError("nobody there", kind="unreachable")
        self.keys[key] += 1
        return TokenOutput([self.number], [0.0], "stop", weight_version=self.number)  # type: ignore[arg-type]

    def release(self, key: str) -> None:
        del self.keys[key]


def ask(balanced: Balanced, key: str | None = None) -> int:
    return asyncio.run(balanced.generate([1], PARAMS, key=key)).weight_version


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_rollouts_stay_and_new_ones_go_where_least_is(size: int, asked: list[tuple[int, bool]]) -> None:
    places = [Place(number) for number in range(size)]
    balanced = Balanced(places)
    where: dict[int, int] = {}
    for key, ends in asked:
        before = balanced.loads
        went = ask(balanced, str(key))
        assert went == where.get(key, went)
        if key not in where:
            assert before[went] == min(before)
        where[key] = went
        assert balanced.loads == [list(where.values()).count(number) for number in range(size)]
        if ends:
            balanced.release(str(key))
            del where[key]
    assert [set(place.keys) for place in places] == [
        {str(key) for key, number in where.items() if number == place} for place in range(size)
    ]


def test_turns_without_a_key_stay_nowhere() -> None:
    balanced = Balanced([Place(0), Place(1)])
    assert ask(balanced) == ask(balanced) == 0
    assert balanced.loads == [0, 0]


def test_a_broken_place_leaves_and_comes_back_after_a_rest() -> None:
    now = 0.0
    places = [Place(0), Place(1)]
    balanced = Balanced(places, rest_seconds=10, clock=lambda: now)
    assert ask(balanced, "stays") == 0
    places[0].broken = True
    with pytest.raises(InfrastructureError, match="nobody there"):
        ask(balanced, "stays")
    balanced.release("stays")
    assert [ask(balanced, f"new {i}") for i in range(3)] == [1, 1, 1]
    now = 11.0
    with pytest.raises(InfrastructureError):  # one finds out that it is not there yet
        ask(balanced, "first")
    assert ask(balanced, "second") == 1
    places[0].broken, now = False, 22.0
    balanced.release("first")
    assert [ask(balanced, f"newer {i}") for i in range(2)] == [0, 0]


def test_all_broken_is_an_infrastructure_failure_and_none_a_mistake() -> None:
    place = Place(0)
    place.broken = True
    balanced = Balanced([place])
    for kind in ("unreachable", "policies_broken"):
        with pytest.raises(InfrastructureError) as error:
            ask(balanced)
        assert error.value.kind == kind
    with pytest.raises(UsageError, match="at least one"):
        Balanced([])


def test_no_rollout_is_lost_with_a_place() -> None:
    tokenizer = TinyTokenizer()
    requests = [
        Request(task=task, group_id=task, sample=sample, sampling_seed=10 * i + sample)
        for i, task in enumerate(TASKS)
        for sample in range(6)
    ]

    class Dying(SpokenPolicy):
        async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
            if len(self.seeds) >= 10:
                raise InfrastructureError("the server is gone", kind="unreachable")
            return await super().generate(prompt_ids, params, key=key)

    sound, dying, reference = (kind(tokenizer, make_env(), TASKS) for kind in (SpokenPolicy, Dying, SpokenPolicy))
    found = collect(requests, make_env, Balanced([dying, sound]), tokenizer, concurrency=8, retry_seconds=0.0)
    assert max(f.attempts for f in found) == 2
    assert [f.trajectory for f in found] == [f.trajectory for f in collect(requests, make_env, reference, tokenizer)]
    assert len(dying.seeds) == 10
    assert not dying.held
    assert not sound.held


def test_the_meter_counts_time_without_a_turn() -> None:
    now = 0.0

    class Lasting(Place):
        async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
            nonlocal now
            now += 2.0
            return await super().generate(prompt_ids, params, key=key)

    meter = IdleMeter(Lasting(0), clock=lambda: now)
    assert meter.idle_fraction == 0.0
    for _ in range(3):
        asyncio.run(meter.generate([1], PARAMS, key="a"))
        now += 1.0
    assert (meter.seconds, meter.idle_seconds, meter.turn_seconds) == (8.0, 2.0, 6.0)
    meter.release("a")
