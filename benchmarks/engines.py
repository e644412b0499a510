"""Sampled tokens per CPU-second of the local engine, against `generate` of transformers on the same model.

python benchmarks/engines.py                   # a model of 1 M parameters, random weights, one thread
python benchmarks/engines.py --model FOLDER    # another one; on CUDA where there is one, then per second

One turn: prompts of 100 tokens in groups of 8, 100 tokens sampled. Rollouts: 4 turns of 25 tokens, 20 tokens of context
between them, as an environment answers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import time
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tir_gym.agents.engines import LocalEngine
from tir_gym.rollout import SamplingParams

PROMPT, SAMPLED, GROUP = 100, 100, 8
TURNS, SAID, ANSWERED = 4, 25, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder in Hugging Face's format")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default %(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 128], help="turns at a time")
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = loaded(options.model)
    clock = time.perf_counter if model.device.type == "cuda" else time.process_time
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{size / 1e6:.1f} M parameters, {model.dtype}, {model.device}; torch {torch.__version__}, "
        f"{options.threads} thread(s) of {os.cpu_count()} cores, {platform.machine()}"
    )
    print(f"{'sampled tokens per second of computing':44}" + "".join(f"{batch:>9}" for batch in options.batch))
    for name, measure in ARMS.items():
        if name.endswith("deterministic") and (model.device.type != "cpu" or model.dtype != torch.float32):
            continue
        rates = [max(measure(model, batch, clock) for _ in range(options.repeat)) for batch in options.batch]
        print(f"{name:44}" + "".join(f"{rate:>9.0f}" for rate in rates), flush=True)


def loaded(folder: str | None) -> Any:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if folder:
        return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    return Qwen3ForCausalLM(config).to(device)


def prompts(model: Any, count: int, length: int) -> np.ndarray:
    return np.random.default_rng(0).integers(model.config.vocab_size, size=(count, length))


def by_generate(model: Any, batch: int, clock: Any) -> float:
    """Every row reads its own prompt: `generate` knows of no groups."""
    ids = torch.tensor(np.repeat(prompts(model, -(-batch // GROUP), PROMPT), GROUP, axis=0)[:batch]).to(model.device)
    torch.manual_seed(0)
    began = clock()
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=SAMPLED,
        min_new_tokens=SAMPLED,
        do_sample=True,
        top_k=0,
        pad_token_id=0,
    )
    return batch * SAMPLED / (clock() - began)


def one_turn(model: Any, batch: int, clock: Any, **options: Any) -> float:
    async def run() -> float:
        async with LocalEngine(model, max_slots=batch, **options) as engine:
            given = np.repeat(prompts(model, -(-batch // GROUP), PROMPT), GROUP, axis=0)[:batch]
            began = clock()
            await asyncio.gather(
                *(engine.generate(ids, SamplingParams(max_tokens=SAMPLED, seed=i)) for i, ids in enumerate(given))
            )
            return engine.usage.sampled / (clock() - began)

    return asyncio.run(run())


def rollouts(model: Any, batch: int, clock: Any, **options: Any) -> float:
    async def rollout(engine: LocalEngine, number: int, prompt: list[int], answers: np.ndarray) -> None:
        for turn in range(TURNS):
            params = SamplingParams(max_tokens=SAID, seed=TURNS * number + turn)
            output = await engine.generate(prompt, params, key=str(number))
            prompt = [*prompt, *output.ids.tolist(), *answers[turn].tolist()]
        engine.release(str(number))

    async def run() -> float:
        async with LocalEngine(model, max_slots=batch, **options) as engine:
            given = np.repeat(prompts(model, -(-batch // GROUP), PROMPT), GROUP, axis=0)[:batch].tolist()
            answers = prompts(model, batch * TURNS, ANSWERED).reshape(batch, TURNS, ANSWERED)
            began = clock()
            await asyncio.gather(*(rollout(engine, i, ids, answers[i]) for i, ids in enumerate(given)))
            return engine.usage.sampled / (clock() - began)

    return asyncio.run(run())


ARMS: dict[str, Any] = {
    "generate of transformers, one turn": by_generate,
    "local, one turn": one_turn,
    "local, one turn, deterministic": lambda *given: one_turn(*given, deterministic=True),
    "local, rollouts": rollouts,
    "local, rollouts, deterministic": lambda *given: rollouts(*given, deterministic=True),
}


if __name__ == "__main__":
    main()
