"""vLLM itself: in this process, and as a server. Run by `make test-vllm`, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import torch
from tiny_model import save, tiny_model, tiny_tokenizer

from tir_gym.agents.engines import ParityError, ServerEngine, VllmEngine, check_parity
from tir_gym.agents.engines.parity import model_logprobs
from tir_gym.dialects import get_dialect
from tir_gym.envs.lookup import LookupEnv
from tir_gym.errors import UsageError
from tir_gym.rollout import SamplingParams

OPTIONS = {
    "dtype": "float32",
    "max_model_len": 256,
    "enforce_eager": True,
    "max_num_seqs": 32,
}


def prompts(count: int) -> list[list[int]]:
    random = np.random.default_rng(3)
    return [random.integers(8, 500, size=12 + 3 * i).tolist() for i in range(count)]


def off(model: Any, prompt: list[int], output: Any, temperature: float = 1.0) -> float:
    """How far an output's log-probabilities are from the model's own."""
    ids = torch.tensor([*prompt, *output.ids.tolist()])
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0].float() / temperature
    own = torch.log_softmax(logits, -1)[:-1].gather(1, ids[1:, None])[len(prompt) - 1 :, 0].numpy()
    return float(np.abs(own - output.logprobs).max())


def test_in_process_tokens_go_in_and_out_and_new_weights_arrive(tmp_path: Path) -> None:
    first, second = tiny_model(0), tiny_model(1)
    save(tmp_path / "first", first)

    async def check() -> None:
        async with VllmEngine(tmp_path / "first", send_seed=False, **OPTIONS) as engine:
            report = await check_parity(engine, first)
            print("in process, first weights:", report)

            greedy = SamplingParams(max_tokens=12, temperature=0)
            outputs = await asyncio.gather(*(engine.generate(prompt, greedy) for prompt in prompts(5)))
            for prompt, output in zip(prompts(5), outputs, strict=True):
                own = first.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=-1)
                assert output.ids.tolist() == own[0, len(prompt) :].tolist()
                assert output.finish == "length"
                assert off(first, prompt, output) < 1e-4
            for temperature in (1.0, 0.7):
                warm = SamplingParams(max_tokens=20, temperature=temperature)
                for prompt in prompts(3):
                    assert off(first, prompt, await engine.generate(prompt, warm), temperature) < 1e-4

            told = outputs[0].ids[4]
            end = list(outputs[0].ids).index(told) + 1
            stopped = await engine.generate(
                prompts(1)[0], SamplingParams(max_tokens=12, temperature=0, stop_ids=(int(told),))
            )
            assert (stopped.finish, stopped.ids.tolist()) == ("stop", outputs[0].ids[:end].tolist())
            full = await engine.generate([9] * 250, SamplingParams(max_tokens=50))
            assert (full.finish, len(full.ids)) == ("length", 6)
            with pytest.raises(UsageError, match="1 to 255"):
                await engine.generate([9] * 256, greedy)
            with pytest.raises(UsageError, match="top_p"):
                await engine.generate([9], SamplingParams(top_p=0.5))

            with pytest.raises(ParityError, match="version 0"):
                await check_parity(engine, second)
            await engine.update(second.state_dict(), 1)
            print("in process, second weights:", await check_parity(engine, second))
            assert (await engine.generate([9, 8, 7], greedy)).weight_version == 1
            await engine.update(tmp_path / "first", 2)
            assert (await check_parity(engine, first)).weight_version == 2

    asyncio.run(check())


def test_the_probe_finds_the_output_matrix_that_a_tied_model_keeps(tmp_path: Path) -> None:
    first, second = tiny_model(0, tied=True), tiny_model(1, tied=True)
    save(tmp_path / "tied", first)

    async def check() -> None:
        async with VllmEngine(tmp_path / "tied", send_seed=False, **OPTIONS) as engine:
            await check_parity(engine, first)
            await engine.update(save(tmp_path / "second", second), 1)
            with pytest.raises(ParityError, match="tie_word_embeddings=True") as caught:
                await check_parity(engine, second)
            print("tied:", caught.value)

    asyncio.run(check())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Any]]:
    """vLLM's server: base URL, folder of the model, the model."""
    model = tiny_model(5, context=1024)
    folder = save(tmp_path_factory.mktemp("served"), model)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "1024", "--enforce-eager", "--max-num-seqs", "32"),
        *("--logprobs-mode", "processed_logprobs"),
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    ]
    log = folder / "server.log"
    environment = {**os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1", folder, model
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1800):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"vLLM's server did not start:\n{log.read_text(errors='replace')[-3000:]}")


def test_a_server_takes_and_gives_token_ids(served: tuple[str, Path, Any]) -> None:
    url, _, model = served

    async def check() -> None:
        async with ServerEngine("tiny", url, processed_logprobs=True, send_seed=False) as engine:
            print("server:", await check_parity(engine, model))
            for temperature in (1.0, 0.7):
                warm = SamplingParams(max_tokens=20, temperature=temperature)
                outputs = await asyncio.gather(*(engine.generate(prompt, warm) for prompt in prompts(4)))
                for prompt, output in zip(prompts(4), outputs, strict=True):
                    assert off(model, prompt, output, temperature) < 1e-4
            ids = prompts(1)[0]
            assert np.abs(await engine.logprobs(ids) - model_logprobs(model, ids)).max() < 1e-5
            full = await engine.generate([9] * 1020, SamplingParams(max_tokens=50))
            assert (full.finish, len(full.ids)) == ("length", 4)
            with pytest.raises(UsageError, match="its context is 1024"):
                await engine.generate([9] * 1024, SamplingParams())
        async with ServerEngine("large", url) as engine:
            with pytest.raises(UsageError, match="has no model 'large'; it has: tiny"):
                await engine.generate([9], SamplingParams())

    asyncio.run(check())


def test_a_server_loads_new_weights_from_a_folder(served: tuple[str, Path, Any], tmp_path: Path) -> None:
    url, folder, model = served
    other = tiny_model(6, context=1024)
    save(tmp_path / "other", other)

    async def check() -> None:
        async with ServerEngine("tiny", url, processed_logprobs=True, send_seed=False) as engine:
            await engine.update(tmp_path / "other", 1)
            print("server, new weights:", await check_parity(engine, other))
            assert (await engine.generate([9], SamplingParams(max_tokens=1))).weight_version == 1
            await engine.update(folder, 2)
            await check_parity(engine, model)

    asyncio.run(check())


def test_the_tool_parser_reads_what_the_policy_says(served: tuple[str, Path, Any], tmp_path: Path) -> None:
    """The server's chat route makes tool calls of what a policy says in our dialect, once it has learned a call."""
    url, folder, _ = served
    env, tokenizer = LookupEnv(dialect="hermes", hops=(1, 1)), tiny_tokenizer()
    messages, info = env.reset(options={"task": "train/0"})
    text, calls = next(iter(info["oracle"].script()))
    said = get_dialect("hermes").render(text, calls[:1])
    tool = {"type": "function", "function": {"name": calls[0].name, "parameters": {"type": "object"}}}
    body = {"model": "tiny", "messages": list(messages), "temperature": 0, "max_tokens": 60, "return_token_ids": True}
    # Without tools it renders and tokenizes as rollouts do; it writes tools with fields that nobody gave.
    assert chat(url, body)["prompt_token_ids"] == tokenizer.encode(tokenizer.render(messages, (), reply=True))
    body["tools"] = [tool]
    prompt = chat(url, body)["prompt_token_ids"]
    pupil = tiny_model(5, context=1024)
    learn(pupil, prompt, [*tokenizer.encode(said), *tokenizer.stop_ids])

    async def load(weights: Path, version: int) -> None:
        async with ServerEngine("tiny", url) as engine:
            await engine.update(weights, version)

    asyncio.run(load(save(tmp_path / "pupil", pupil), 3))
    (choice,) = chat(url, body)["choices"]
    asyncio.run(load(folder, 4))
    assert tokenizer.decode([id for id in choice["token_ids"] if id not in tokenizer.stop_ids]) == said
    (ours,) = get_dialect("hermes").parse(said).items
    (theirs,) = choice["message"]["tool_calls"]
    assert theirs["function"]["name"] == ours.name == calls[0].name
    assert json.loads(theirs["function"]["arguments"]) == dict(ours.arguments) == dict(calls[0].arguments)


def chat(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def learn(model: Any, prompt: list[int], answer: list[int]) -> None:
    """One answer to one prompt, by heart."""
    ids = torch.tensor([[*prompt, *answer]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.01:
            return
    raise AssertionError(f"the model has not learned its call: loss {loss.item():.3f}")
