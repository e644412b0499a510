"""vLLM itself: in this process, and as a server. Run by `make test-vllm`, in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import torch
from tiny_model import save, tiny_model, tiny_tokenizer

from tir_gym.agents.checkpoints import checkpoints
from tir_gym.agents.engines import ParityError, ServerEngine, VllmEngine, check_parity
from tir_gym.agents.engines.loading import load_causal_lm
from tir_gym.agents.engines.parity import model_logprobs
from tir_gym.agents.grpo.log import read_metrics
from tir_gym.agents.policies import Lessons, SupervisedConfig, make_policy, teach
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
    with serving(folder, "--logprobs-mode", "processed_logprobs", *TOOL_PARSER) as url:
        yield url, folder, model


TOOL_PARSER = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """vLLM's server of the model in a folder, as `docs/training.md` says; its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)),
        *("--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "1024", "--enforce-eager", "--max-num-seqs", "32"),
    ]
    log = folder / "server.log"
    environment = {**os.environ, "VLLM_SERVER_DEV_MODE": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
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


# Training, by the command line, in processes of its own.

EASY = {"hops": 1, "branches": 1, "distractors": 0}
SETTINGS = (
    *("--env", "tir_gym/Lookup-v0", "env.options={hops=1, branches=1, distractors=0}", "deterministic=false"),
    *("rollout.prompts=4", "rollout.group=4", "rollout.max_tokens=32", "eval.every=1", "eval.tasks=4"),
    *("optim.minibatches=2", "optim.warmup=0", "checkpoint.every=1", "log.tensorboard=false"),
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that calls tools, made and taught here."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made")
    make_policy(folder / "blank", size="0.2M", envs=["tir_gym/Lookup-v0"], env_options=EASY, conversations=50)
    lessons = Lessons("tir_gym/Lookup-v0", EASY, count=400)
    teach(folder / "blank", folder / "policy", lessons, SupervisedConfig(steps=60, batch=16, warmup=10))
    return folder / "policy"


def training(*words: object) -> list[str]:
    return [str(Path(sys.executable).with_name("tir-gym")), "train", *map(str, words), "--json"]


def trained(*words: object) -> dict[str, Any]:
    """What `tir-gym train --json` prints: one document, whatever the engine has to say."""
    done = subprocess.run(training(*words), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def curve(run: Path) -> list[dict[str, float]]:
    """The figures of a run, once they say that each step was sampled from the very weights that then learned."""
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(len(lines)))
    assert all(math.isfinite(value) for line in lines for value in line.values())
    for line in lines[1:]:
        assert line["engine_gap"] < 1e-4  # nats: before the first update the ratio of every token is 1
        assert line["staleness"] == 0  # turns carry the version of the step
        assert line["infra_failures"] == 0
        assert line["turns"] > 1  # with what tools say between
        assert 0 <= line["success"] <= 1
        assert line["updates"] == 2
        assert line["loss"] != 0
    return lines


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoints(run)[-1] / "state.json").read_text())
    return found


def moved(run: Path, policy: Path) -> float:
    """How far the trained policy is from the one that it began with."""
    before, after = load_causal_lm(policy).state_dict(), load_causal_lm(run / "policy").state_dict()
    return max(float((before[name] - after[name]).abs().max()) for name in before)


def test_training_with_vllm_in_process_survives_a_kill(policy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    engine = ("rollout.engine=vllm", "rollout.options={enforce_eager=true}")
    begun = subprocess.Popen(
        training(policy, *SETTINGS, *engine, "steps=1000", "--out", run),
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "begun.log").open("wb"),
    )
    try:
        while len(checkpoints(run)) < 2:
            assert begun.poll() is None, (tmp_path / "begun.log").read_text(errors="replace")[-3000:]
            time.sleep(0.1)
        engines = children(begun.pid)
        assert engines
    finally:
        begun.kill()
    assert begun.wait() == -signal.SIGKILL
    for pid in engines:  # nothing keeps the memory that the next run needs
        ended(pid)

    done = state(run)["step"]
    document = trained("--resume", "--out", run, f"steps={done + 2}")
    assert document["figures"]["step"] == done + 2
    print("training in process:", document["figures"])
    assert len(curve(run)) == done + 3
    assert state(run)["weight_version"] == done + 2
    assert 1e-4 < moved(run, policy) < 1


def test_training_with_a_server_leaves_it_the_last_weights(policy: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    async def version_there(url: str, folder: Path) -> None:
        async with ServerEngine("tiny", url) as engine:
            await check_parity(engine, load_causal_lm(folder))

    async def restart(url: str) -> None:
        """What a server samples from that is started anew."""
        async with ServerEngine("tiny", url) as engine:
            await engine.update(policy, 0)

    with serving(policy) as url:
        engine = ("rollout.engine=server", f'rollout.urls=["{url}"]', "rollout.model=tiny")
        document = trained(policy, *SETTINGS, *engine, "steps=2", "--out", run)
        print("training with a server:", document["figures"])
        assert len(curve(run)) == 3
        asyncio.run(version_there(url, run / "policy"))
        first = moved(run, policy)

        asyncio.run(restart(url))
        trained("--resume", "--out", run, "steps=3")
        assert len(curve(run)) == 4
        assert state(run)["weight_version"] == 3
        asyncio.run(version_there(url, run / "policy"))
        assert 1e-4 < first != moved(run, policy)
        assert not (run / "weights").exists()


def children(pid: int) -> list[int]:
    """Processes that another has started, and those that these have."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(child) for task in tasks for child in task.read_text().split()]
    return own + [further for child in own for further in children(child)]


def ended(pid: int) -> None:
    for _ in range(300):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is still there")
