"""Rollouts that go on by themselves against rollouts that take turns together, with tools as slow as sampling.

python benchmarks/rollouts.py                    # an engine that sleeps, so that a busy machine blurs it less
python benchmarks/rollouts.py --engine local     # a tiny model on this machine's processor

Both versions play the same requests with the same engine, environments and number of threads. With a turn barrier, all
rollouts of a batch are sampled, then all their tools run, then all are sampled again; once with batches that are played
to their end, once with each rollout that has ended replaced at the next barrier, which is the best that can be had of
it. Rollouts have 1 to 8 turns. A tool takes as long as a turn takes to be sampled on average, measured beforehand.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tir_gym.envs.lookup import LookupEnv
from tir_gym.records import Message, ToolCall
from tir_gym.rollout import ChatPrompt, IdleMeter, Policy, Recording, Request, SamplingParams, Scheduler, TokenOutput

TURNS = 8
TOKENS = (20, 60)
"""Least and most of a turn that is simulated, drawn evenly."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["simulated", "local"], default="simulated")
    parser.add_argument("--rollouts", type=int, default=96, help="how many to play (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="how many at a time (default %(default)s)")
    parser.add_argument("--slots", type=int, nargs="*", help="turns sampled together (default: as many, and half)")
    parser.add_argument("--token-seconds", type=float, default=0.006, help="of the simulated engine")
    options = parser.parse_args()
    for slots in options.slots or (options.concurrency, options.concurrency // 2):
        asyncio.run(compare(options, slots))


async def compare(options: argparse.Namespace, slots: int) -> None:
    """Print what the three ways take with an engine that samples so many turns at a time."""
    if options.engine == "local":
        policy, tokenizer, stops, seconds = await local(slots)
    else:
        policy, tokenizer = Simulated(slots, options.token_seconds), Characters()
        stops, seconds = (), options.token_seconds * sum(TOKENS) / 2
    print(
        f"{options.engine} engine, {slots} turns at a time; {options.rollouts} rollouts, {options.concurrency} at a "
        f"time; a tool takes {1000 * seconds:.0f} ms"
    )
    params = SamplingParams(max_tokens=TOKENS[1], stop_ids=stops or (0,))
    requests = [Request(env_seed=n, group_id=n, sampling_seed=n) for n in range(options.rollouts)]

    def make_env() -> Counted:
        return Counted(seconds)

    async def asynchronous(meter: Policy) -> int:
        async with Scheduler(
            make_env, meter, tokenizer, params=params, concurrency=options.concurrency, tool_threads=options.concurrency
        ) as scheduler:
            return sum([len(f.trajectory.turns) async for f in scheduler.run(requests)])

    async def together(meter: Policy, refill: bool) -> int:
        return await with_barrier(make_env, meter, tokenizer, params, requests, options.concurrency, refill=refill)

    ways: dict[str, Callable[[Policy], Any]] = {
        "barrier, batch by batch": lambda meter: together(meter, False),
        "barrier, ended ones replaced": lambda meter: together(meter, True),
        "asynchronous": asynchronous,
    }
    taken: dict[str, float] = {}
    played = set()
    for name, way in ways.items():
        meter, start = IdleMeter(policy), time.perf_counter()
        turns = await way(meter)
        played.add(turns)
        taken[name] = time.perf_counter() - start
        busy = meter.turn_seconds / meter.seconds / slots
        print(
            f"  {name:30}{taken[name]:7.2f} s{turns / taken[name]:8.0f} turns/s   engine idle "
            f"{100 * meter.idle_fraction:3.0f}% of the time, its slots asked for {100 * busy:3.0f}%"
        )
    assert options.engine == "local" or len(played) == 1, f"not the same turns: {played}"
    *barriers, last = taken.values()
    print(f"  asynchronous is {barriers[0] / last:.2f} and {barriers[1] / last:.2f} times as fast\n")
    if options.engine == "local":
        await policy.close()


async def with_barrier(
    make_env: Callable[[], Counted],
    policy: Policy,
    tokenizer: Any,
    params: SamplingParams,
    requests: Sequence[Request],
    concurrency: int,
    *,
    refill: bool,
) -> int:
    """Play all, every rollout of a batch at the same turn; gives the number of turns."""
    loop, waiting, turns = asyncio.get_running_loop(), iter(requests), 0
    free = [make_env() for _ in range(concurrency)]
    alive: list[tuple[Counted, ChatPrompt, Recording, str]] = []
    with ThreadPoolExecutor(concurrency) as threads:
        while True:
            if refill or not alive:
                for _, request in zip(list(free), waiting, strict=False):
                    env = free.pop()
                    observation, info = env.reset(seed=request.env_seed)
                    prompt, recording = ChatPrompt(tokenizer, info["tools"]), Recording(info["task_id"], 0)
                    recording.extend(prompt.begin(observation))
                    alive.append((env, prompt, recording, f"barrier {request.env_seed}"))
            if not alive:
                return turns
            outputs = await asyncio.gather(
                *(policy.generate(recording.prompt_ids, params, key=key) for _, _, recording, key in alive)
            )
            answers = await asyncio.gather(
                *(
                    loop.run_in_executor(threads, env.step, prompt.text(output.ids))
                    for (env, prompt, _, _), output in zip(alive, outputs, strict=True)
                )
            )
            going_on = []
            for rollout, output, (observation, reward, terminated, truncated, _) in zip(
                alive, outputs, answers, strict=True
            ):
                env, prompt, recording, key = rollout
                recording.add(output.ids, output.logprobs, reward=reward)
                turns += 1
                if terminated or truncated:
                    policy.release(key)
                    free.append(env)
                else:
                    recording.extend(prompt.grow(output.ids, observation))
                    going_on.append(rollout)
            alive = going_on


class Counted(LookupEnv):
    """Whatever is said, it looks something up, as often as its seed says; and its tools take their time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(dialect="openai", hops=(1, 3), max_turns=TURNS)
        self._seconds = seconds

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._left = random.Random(f"turns/{seed}").randint(1, TURNS)
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        time.sleep(self._seconds)
        self._left -= 1
        if not self._left:
            return super().step("A1")
        return super().step(self.dialect.render("", [ToolCall("boss", {"of": f"A{self._left}"})]))


class Simulated:
    """An engine that samples so many turns at a time, each at the same pace."""

    def __init__(self, slots: int, token_seconds: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._token_seconds = token_seconds

    async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
        tokens = random.Random(f"{params.seed}/{len(prompt_ids)}").randint(*TOKENS)
        async with self._slots:
            await asyncio.sleep(tokens * self._token_seconds)
        ids = np.full(tokens, ord("x"), dtype=np.int32)
        return TokenOutput(ids, np.zeros(tokens, dtype=np.float32), "stop", weight_version=0)

    def release(self, key: str) -> None: ...


class Characters:
    """A tokenizer for which characters are tokens."""

    stop_ids = (0,)
    special_tokens = ("\0",)

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def render(self, messages: Sequence[Message], tools: Any, *, reply: bool) -> str:
        return "".join(f"{message['role']}: {message['content']}\0" for message in messages) + reply * "assistant: "


async def local(slots: int) -> tuple[Any, Any, tuple[int, ...], float]:
    """An engine with a tiny model of random weights, its tokenizer, the tokens that end a turn, seconds of a turn."""
    from tir_gym.agents.engines import HuggingFaceTokenizer, LocalEngine
    from tir_gym.agents.policies import make_policy

    with tempfile.TemporaryDirectory() as folder:
        make_policy(f"{folder}/policy", size="1M", envs=["tir_gym/Lookup-v0"])
        tokenizer = HuggingFaceTokenizer.load(f"{folder}/policy")
        engine = LocalEngine.load(f"{folder}/policy", max_slots=slots)
    # Random weights never stop by themselves: let one token in forty do it.
    stops = tuple(sorted({*tokenizer.stop_ids, *range(0, tokenizer.size, 40)}))
    params = SamplingParams(max_tokens=TOKENS[1], stop_ids=stops)
    prompt = tokenizer.encode("town of town of M41 and boss of D57? " * 6)

    async def turn(number: int) -> float:
        start = time.perf_counter()
        await engine.generate(prompt, params, key=f"trial {number}")
        engine.release(f"trial {number}")
        return time.perf_counter() - start

    await asyncio.gather(*(turn(n) for n in range(slots)))  # warm
    taken = await asyncio.gather(*(turn(n) for n in range(slots, 3 * slots)))
    return engine, tokenizer, stops, sum(taken) / len(taken)


if __name__ == "__main__":
    main()
