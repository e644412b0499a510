"""A policy without a model: it knows the right answers, and gives them or not by the turn's seed alone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from tiny_tokenizer import END, START, TinyTokenizer

from tir_gym.dialects import get_dialect
from tir_gym.env import ToolEnv
from tir_gym.rollout import SamplingParams, TokenOutput

_hermes = get_dialect("hermes")


class SpokenPolicy:
    """Says what the oracle would, by the user's words in the prompt; some turns are random tokens instead.

    Args:
        tokenizer: Its tokens.
        env: Where the tasks come from.
        tasks: Those that it knows.
        error: How often a turn is random tokens.
    """

    def __init__(self, tokenizer: TinyTokenizer, env: ToolEnv, tasks: Sequence[str], error: float = 0.2) -> None:
        self._tokenizer = tokenizer
        self._error = error
        self._said: dict[str, list[str]] = {}
        for task in tasks:
            observation, info = env.reset(options={"task": task})
            request = next(message["content"] for message in observation if message["role"] == "user")
            self._said[request] = [str(_hermes.render(text, calls)) for text, calls in info["oracle"].script()]
        self.held: Counter[str] = Counter()
        """Turns sampled for each key that was not released."""
        self.now = 0
        self.most = 0
        """Turns that were sampled at the same time, at most."""
        self.seeds: list[int | None] = []

    async def generate(self, prompt_ids: Any, params: SamplingParams, *, key: str | None = None) -> TokenOutput:
        assert key is not None
        self.held[key] += 1
        self.seeds.append(params.seed)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            rng = random.Random(params.seed)
            for _ in range(rng.randrange(4)):  # so that rollouts overtake each other
                await asyncio.sleep(0)
            ids = self._ids(list(prompt_ids), rng)[: params.max_tokens]
        finally:
            self.now -= 1
        return TokenOutput(
            np.array(ids, dtype=np.int32),
            np.array([-rng.random() for _ in ids], dtype=np.float32),
            "stop" if ids[-1] in params.stop_ids else "length",
            weight_version=7,
        )

    def release(self, key: str) -> None:
        self.held.pop(key, None)

    def _ids(self, prompt: list[int], rng: random.Random) -> list[int]:
        if rng.random() < self._error:
            return [rng.randrange(10, self._tokenizer.size) for _ in range(rng.randint(2, 6))] + [
                self._tokenizer.id(END)
            ]
        text = self._tokenizer.decode(prompt)
        turn = text.count(f"{START}assistant\n") - 1
        script = next(said for request, said in self._said.items() if request in text)
        return self._tokenizer.encode(script[min(turn, len(script) - 1)] + END)
