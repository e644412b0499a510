"""A program that plays rollouts with slow tools until it is interrupted, and says what it has left behind."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from spoken_policy import SpokenPolicy
from tiny_tokenizer import TinyTokenizer

from tir_gym.envs.lookup import LookupEnv
from tir_gym.rollout import Branching, Request, collect

TASKS = ["train/0", "train/1"]
living: set[int] = set()
stepping = 0


class SlowEnv(LookupEnv):
    """Its tools take a moment, and it says when the first one runs."""

    def __init__(self) -> None:
        super().__init__(dialect="hermes", hops=(1, 3))

    def reset(self, **options: Any) -> Any:
        living.add(id(self))
        return super().reset(**options)

    def fork(self) -> Any:
        twin = super().fork()
        living.add(id(twin))
        return twin

    def step(self, action: Any) -> Any:
        global stepping
        stepping += 1
        if stepping == 20:
            print("playing", flush=True)
        time.sleep(0.05)
        return super().step(action)

    def close(self) -> None:
        super().close()
        living.discard(id(self))


def main() -> None:
    tokenizer = TinyTokenizer()
    policy = SpokenPolicy(tokenizer, LookupEnv(dialect="hermes", hops=(1, 3)), TASKS)
    requests = [Request(task=TASKS[number % 2], group_id=number, sampling_seed=number) for number in range(100_000)]
    interrupted = False
    try:
        collect(requests, SlowEnv, policy, tokenizer, concurrency=8, branching=Branching(surprise=0.5))
    except KeyboardInterrupt:
        interrupted = True
    deadline = time.monotonic() + 5
    while any(t.name.startswith("tir-gym") for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("tir-gym")]
    left = {"living": len(living), "held": len(policy.held), "threads": threads, "interrupted": interrupted}
    print(json.dumps(left), flush=True)


main()
