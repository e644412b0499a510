"""Engines: whatever samples, a turn is what the model itself says of its tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="the extra 'train' is not installed: pip install 'tir-gym[train]'")

import torch
import transformers
from tiny_model import save, tiny_model, tiny_tokenizer

from tir_gym.agents.engines import HuggingFaceTokenizer, LocalEngine, ParityError, ServerEngine, check_parity
from tir_gym.agents.engines.choosing import choose
from tir_gym.agents.engines.parity import model_logprobs
from tir_gym.agents.engines.server import ServerError
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.rollout import ChatPrompt, SamplingParams, TokenOutput

CONTEXT = 256


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


all_kinds = pytest.mark.parametrize("make", ["local", "deterministic", "server"], indirect=True)
"""Also the engine that reads prompts token by token; it takes longer."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[str]:
    """A server of the same model, in a process of its own."""
    folder = save(tmp_path_factory.mktemp("served"), model)
    program = Path(__file__).with_name("completions_server.py")
    with subprocess.Popen([sys.executable, str(program), str(folder)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.kill()


@pytest.fixture(params=["local", "server"])
def make(request: pytest.FixtureRequest, model: Any) -> Any:
    """An engine of the model, to be entered."""
    if request.param == "server":
        base = request.getfixturevalue("url")
        return lambda: ServerEngine("tiny", base, backoff=0.01)
    return lambda: LocalEngine(model, max_slots=4, kept=2, deterministic=request.param == "deterministic")


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(8, 500, size=5 + 7 * i % 40).tolist() for i in range(count)]


def own_logprobs(model: Any, prompt: list[int], output: TokenOutput, temperature: float = 1.0) -> Any:
    """What the model's plain forward pass says of an output, `[S, V]`."""
    ids = torch.tensor([*prompt, *output.ids.tolist()])
    with torch.no_grad():
        logits = model(input_ids=ids[None, :-1]).logits[0, len(prompt) - 1 :].float()
    return torch.log_softmax(logits / (temperature or 1.0), -1).numpy()


def assert_from(model: Any, prompt: list[int], output: TokenOutput, temperature: float = 1.0) -> None:
    own = own_logprobs(model, prompt, output, temperature)
    if temperature == 0:
        assert output.ids.tolist() == own.argmax(-1).tolist()
    assert output.ids.dtype == np.int32
    assert output.logprobs.dtype == np.float32
    assert np.abs(own[np.arange(len(own)), output.ids] - output.logprobs).max() < 1e-5


# Every engine.


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_turn_is_what_the_model_says(make: Any, model: Any, temperature: float) -> None:
    async def check() -> None:
        async with make() as engine:
            params = SamplingParams(max_tokens=12, temperature=temperature)
            outputs = await asyncio.gather(*(engine.generate(prompt, params) for prompt in prompts(6)))
            for prompt, output in zip(prompts(6), outputs, strict=True):
                assert (len(output.ids), output.finish, output.weight_version) == (12, "length", 0)
                assert_from(model, prompt, output, temperature)

    asyncio.run(check())


def test_a_stop_token_ends_a_turn_and_belongs_to_it(make: Any) -> None:
    async def check() -> None:
        async with make() as engine:
            prompt = prompts(3)[2]
            free = await engine.generate(prompt, SamplingParams(max_tokens=12, temperature=0))
            stop = int(free.ids[5])
            end = free.ids.tolist().index(stop) + 1
            params = SamplingParams(max_tokens=12, temperature=0, stop_ids=(511, stop))
            output = await engine.generate(prompt, params)
            assert (output.ids.tolist(), output.finish) == (free.ids[:end].tolist(), "stop")

    asyncio.run(check())


def test_a_turn_ends_with_the_context(make: Any, model: Any) -> None:
    async def check() -> None:
        async with make() as engine:
            prompt = np.random.default_rng(1).integers(8, 500, size=CONTEXT - 6).tolist()
            output = await engine.generate(prompt, SamplingParams(max_tokens=50))
            assert (len(output.ids), output.finish) == (6, "length")
            assert_from(model, prompt, output)
            for wrong in ([], [9] * CONTEXT):
                with pytest.raises(UsageError, match=f"{len(wrong)} tokens"):
                    await engine.generate(wrong, SamplingParams())

    asyncio.run(check())


@all_kinds
def test_rollouts_grow_turn_by_turn(make: Any, model: Any) -> None:
    """More of them than there are slots and rows, some with the same beginning, in any order."""

    async def rollout(engine: Any, number: int) -> None:
        random = np.random.default_rng(number)
        prompt = [*prompts(3, seed=5)[2], *random.integers(8, 500, size=number % 3).tolist()]
        for turn in range(3):
            params = SamplingParams(max_tokens=3 + number % 5, seed=100 * number + turn, stop_ids=(7, 8, 9))
            output = await engine.generate(prompt, params, key=f"rollout {number}")
            assert_from(model, prompt, output)
            prompt = [*prompt, *output.ids.tolist(), *random.integers(8, 500, size=1 + 5 * number % 17).tolist()]
            await asyncio.sleep(0.001 * (number % 4))
        engine.release(f"rollout {number}")

    async def check() -> None:
        async with make() as engine:
            engine.release("never heard of")
            await asyncio.gather(*(rollout(engine, number) for number in range(9)))

    asyncio.run(check())


@all_kinds
def test_the_seed_decides_and_not_who_is_sampled_beside(make: Any) -> None:
    async def check() -> None:
        prompt, params = prompts(4)[3], SamplingParams(max_tokens=20, seed=3)
        async with make() as engine:
            alone = await engine.generate(prompt, params)
        async with make() as engine:
            others = [engine.generate(p, SamplingParams(max_tokens=9 + i)) for i, p in enumerate(prompts(6, seed=2))]
            *_, beside, other = await asyncio.gather(
                *others, engine.generate(prompt, params), engine.generate(prompt, SamplingParams(max_tokens=20, seed=4))
            )
            # To the last bit where the engine says so; else but for a draw that falls within rounding of a border.
            assert beside.ids.tolist() == alone.ids.tolist()
            if engine.deterministic:
                assert beside.logprobs.tolist() == alone.logprobs.tolist()
            assert other.ids.tolist() != alone.ids.tolist()

    asyncio.run(check())


def test_scores_are_the_models(make: Any, model: Any) -> None:
    async def check() -> None:
        async with make() as engine:
            for ids in prompts(4):
                scores = await engine.logprobs(ids)
                assert scores.dtype == np.float32
                assert scores[0] == 0
                assert np.abs(scores - model_logprobs(model, ids)).max() < 1e-5
            assert (await engine.logprobs([9])).tolist() == [0]

    asyncio.run(check())


def test_new_weights_are_sampled_from_and_the_probe_tells_old_ones(url: str, tmp_path: Path) -> None:
    first, second = tiny_model(), tiny_model(1)

    async def check(engine: Any, new: Any, old: Any) -> None:
        async with engine:
            report = await check_parity(engine, first)
            assert report.largest < 1e-5
            assert report.tokens == 4 * 47
            prompt, params = prompts(2)[1], SamplingParams(max_tokens=8, temperature=0)
            await engine.generate(prompt, params, key="a")
            with pytest.raises(ParityError, match=r"does not sample from the model's weights \(version 0\)") as caught:
                await check_parity(engine, second)
            assert caught.value.report.largest > 1e-2
            await engine.update(new, 7)
            assert (await check_parity(engine, second)).weight_version == 7
            output = await engine.generate(prompt, params, key="a")
            assert output.weight_version == engine.weight_version == 7
            assert_from(second, prompt, output, 0)
            await engine.update(old, 8)
            await check_parity(engine, first)

    asyncio.run(check(LocalEngine(tiny_model()), second.state_dict(), first.state_dict()))
    folders = [save(tmp_path / name, model) for name, model in (("second", second), ("first", first))]
    asyncio.run(check(ServerEngine("tiny", url), *folders))


# The probe.


def test_the_probe_names_tied_embeddings() -> None:
    first, second = tiny_model(tied=True), tiny_model(1, tied=True)

    async def check() -> None:
        async with LocalEngine(first) as engine:
            with pytest.raises(ParityError, match=r"tie_word_embeddings=True.*untied"):
                await check_parity(engine, second)

    asyncio.run(check())


def test_the_probe_counts_what_precision_allows() -> None:
    single, half = tiny_model(), tiny_model().to(torch.bfloat16)

    async def check() -> None:
        async with LocalEngine(half) as engine:
            with pytest.raises(ParityError, match="by up to"):
                await check_parity(engine, single)
            assert (await check_parity(engine, half, tolerance=0.05)).mean < 0.05
            for wrong in ([], [[3]]):
                with pytest.raises(UsageError, match="at least two tokens"):
                    await check_parity(engine, half, wrong)

    asyncio.run(check())


# The local engine.


def llama(**more: Any) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
        **more,
    )
    return transformers.LlamaForCausalLM(config)


def mistral() -> Any:
    """All layers see a window."""
    config = transformers.MistralConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        sliding_window=9,
    )
    return transformers.MistralForCausalLM(config)


def gemma() -> Any:
    """Every other layer sees a window; logits are capped."""
    config = transformers.Gemma2Config(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=CONTEXT,
        sliding_window=9,
        attn_implementation="eager",
    )
    return transformers.Gemma2ForCausalLM(config)


def gpt2() -> Any:
    """Positions are learned."""
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=512, n_positions=CONTEXT, n_embd=64, n_layer=2, n_head=4)
    )


@pytest.mark.parametrize("architecture", [llama, mistral, gemma, gpt2])
def test_any_architecture_is_sampled_as_it_is(architecture: Any) -> None:
    torch.manual_seed(0)
    model = architecture().eval()

    async def rollout(engine: Any, prompt: list[int]) -> None:
        for turn in range(2):
            output = await engine.generate(prompt, SamplingParams(max_tokens=12, seed=turn), key=str(prompt[0]))
            assert_from(model, prompt, output)
            prompt = [*prompt, *output.ids.tolist(), 3, 4, 5]

    async def check() -> None:
        async with LocalEngine(model, max_slots=4) as engine:
            await asyncio.gather(*(rollout(engine, prompt) for prompt in prompts(3)))
            await check_parity(engine, model)

    asyncio.run(check())


def test_a_model_that_cannot_be_sampled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cuda_graphs=True: the model is on cpu"):
        LocalEngine(tiny_model(), cuda_graphs=True)
    with pytest.raises(UsageError, match=r"only float32 on a CPU"):
        LocalEngine(tiny_model().to(torch.bfloat16), deterministic=True)
    with pytest.raises(UsageError, match="no causal language model"):
        LocalEngine.load(tmp_path)


def test_only_new_tokens_are_forwarded(model: Any) -> None:
    async def check() -> None:
        async with LocalEngine(model, max_slots=8) as engine:
            group = prompts(6, seed=4)[5]
            turns = [engine.generate(group, SamplingParams(max_tokens=5, seed=i), key=str(i)) for i in range(8)]
            outputs = await asyncio.gather(*turns)
            usage = engine.usage
            # The group's prompt once, its last token for each, and what was sampled but for the last.
            assert usage.forwarded == len(group) - 1 + 8 * 5
            assert usage.sampled == 8 * 5
            before = usage.forwarded
            longer = [*group, *outputs[3].ids.tolist(), 11, 12, 13]
            await engine.generate(longer, SamplingParams(max_tokens=1), key="3")
            assert usage.forwarded - before == 4  # the last that was sampled, and three new ones

    asyncio.run(check())


def test_memory_is_bounded_and_who_was_least_recently_heard_of_goes(model: Any) -> None:
    async def check() -> None:
        async with LocalEngine(model, max_slots=1, kept=2, context=64) as engine:

            async def forwarded(key: str, prompt: list[int]) -> int:
                before = engine.usage.forwarded
                await engine.generate(prompt, SamplingParams(max_tokens=2, temperature=0), key=key)
                return engine.usage.forwarded - before

            first, second, third, fourth = ([n, n + 1, *range(20, 40)] for n in (300, 310, 320, 330))
            assert [await forwarded(str(p[0]), p) for p in (first, second, third)] == [23, 23, 23]
            assert await forwarded("300", first) == 2  # kept
            assert await forwarded("330", fourth) == 23  # takes the row of the second
            assert await forwarded("310", second) == 23  # read again, in the row of the third
            assert await forwarded("300", first) == 2
            columns = 64 + 32  # and scratch, in steps of 32
            assert engine.cache_bytes <= 8 * columns * 2 * 2 * 2 * 32 * 4

    asyncio.run(check())


def test_a_broken_model_fails_whoever_waits_and_only_them(model: Any) -> None:
    async def check() -> None:
        broken = tiny_model()
        async with LocalEngine(broken, max_slots=2) as engine:

            def fail(*_: Any) -> None:
                raise RuntimeError("out of luck")

            hook = broken.model.layers[1].register_forward_pre_hook(fail)
            turns = [engine.generate(prompt, SamplingParams(max_tokens=3)) for prompt in prompts(5)]
            for outcome in await asyncio.gather(*turns, return_exceptions=True):
                assert isinstance(outcome, InfrastructureError)
                assert "RuntimeError: out of luck" in str(outcome)
            with pytest.raises(InfrastructureError, match="out of luck"):
                await engine.logprobs([3, 4])
            hook.remove()
            assert_from(model, [3, 4, 5], await engine.generate([3, 4, 5], SamplingParams(max_tokens=3)))
            with torch.no_grad():
                broken.lm_head.weight[0, 0] = float("nan")
            with pytest.raises(InfrastructureError, match="not finite"):
                await engine.generate([3, 4, 5], SamplingParams(max_tokens=3))

    asyncio.run(check())


def test_cancelled_turns_make_room_and_closing_breaks_off(model: Any) -> None:
    async def check() -> None:
        engine = LocalEngine(model, max_slots=1)
        long = SamplingParams(max_tokens=200)
        first = asyncio.create_task(engine.generate([3, 4], long))
        second = asyncio.create_task(engine.generate([5, 6], SamplingParams(max_tokens=2)))
        await asyncio.sleep(0.01)
        first.cancel()
        assert len((await second).ids) == 2
        with pytest.raises(asyncio.CancelledError):
            await first
        under_way = [asyncio.create_task(engine.generate([n, 4], long)) for n in (3, 4)]
        await asyncio.sleep(0.01)
        await engine.close()
        for task in under_way:
            with pytest.raises(InfrastructureError, match="closed"):
                await task
        await engine.close()
        with pytest.raises(InfrastructureError, match="closed"):
            await engine.generate([3], long)

    asyncio.run(check())


def test_turns_under_way_go_on_over_new_weights(model: Any) -> None:
    async def check() -> None:
        own = tiny_model()
        async with LocalEngine(own) as engine:
            turn = asyncio.create_task(engine.generate([3, 4], SamplingParams(max_tokens=120), key="a"))
            while engine.usage.sampled < 20:
                await asyncio.sleep(0.001)
            await engine.update(tiny_model(1).state_dict(), 1)
            output = await turn
            assert (len(output.ids), output.weight_version) == (120, 1)
            before = engine.usage.forwarded
            again = [3, 4, *output.ids[:10].tolist()]
            fresh = await engine.generate(again, SamplingParams(max_tokens=1), key="a")
            assert engine.usage.forwarded - before == len(again)  # nothing of the old weights is used
            assert_from(own, again, fresh)

    asyncio.run(check())


def test_weights_that_are_not_the_models_are_refused() -> None:
    async def check() -> None:
        weights = dict(tiny_model().state_dict())
        async with LocalEngine(tiny_model()) as engine:
            with pytest.raises(UsageError, match="1 missing, 1 unknown"):
                await engine.update({("other" if "lm_head" in n else n): t for n, t in weights.items()}, 1)
            with pytest.raises(UsageError, match=r"lm_head.weight has shape \(512, 64\), and \(511, 64\)"):
                await engine.update({**weights, "lm_head.weight": weights["lm_head.weight"][1:]}, 1)
            assert engine.weight_version == 0
        async with LocalEngine(tiny_model(tied=True)) as engine:
            with pytest.raises(UsageError, match=r"ties lm_head.weight .*tie_word_embeddings"):
                await engine.update(weights, 1)

    asyncio.run(check())


def test_one_engine_serves_several_event_loops(model: Any) -> None:
    engine = LocalEngine(model)
    for prompt in prompts(3):
        assert_from(model, prompt, asyncio.run(engine.generate(prompt, SamplingParams(max_tokens=3))))
    asyncio.run(engine.close())


# Choosing.

rows = st.lists(st.lists(st.floats(-8, 8, width=32), min_size=5, max_size=5), min_size=1, max_size=4)


@given(rows, st.floats(0.25, 4, width=32), st.floats(0.01, 1), st.floats(0, 1, exclude_max=True))
def test_a_token_is_where_the_number_falls(
    logits: list[list[float]], temperature: float, top_p: float, u: float
) -> None:
    n = len(logits)
    ids, logprobs = choose(
        torch.tensor(logits),
        np.full(n, temperature, dtype=np.float32),
        np.full(n, top_p, dtype=np.float32),
        np.full(n, u),
    )
    own = torch.log_softmax(torch.tensor(logits) / temperature, -1).double()
    for row in range(n):
        probabilities = own[row].exp().numpy()
        order = np.argsort(-probabilities, kind="stable")
        before = np.cumsum(probabilities[order]) - probabilities[order]
        nucleus = set(order[before < np.float32(top_p) + 1e-6].tolist())
        assert ids[row] in nucleus
        assert abs(logprobs[row] - float(own[row, ids[row]])) < 1e-5
        if top_p == 1:
            cumulative = np.cumsum(probabilities)
            assert cumulative[ids[row]] - probabilities[ids[row]] - 1e-6 <= u <= cumulative[ids[row]] + 1e-6


def test_tokens_come_as_often_as_they_should() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]])
    n = 20_000
    numbers = np.random.default_rng(0).random(n)
    ids, _ = choose(logits.expand(n, -1), np.ones(n, np.float32), np.ones(n, np.float32), numbers)
    expected = torch.softmax(logits[0], -1).numpy()
    assert np.abs(np.bincount(ids, minlength=5) / n - expected).max() < 0.01
    narrow, _ = choose(logits.expand(n, -1), np.ones(n, np.float32), np.full(n, 0.8, np.float32), numbers)
    assert set(narrow.tolist()) == {1, 2, 4}  # 0.56, 0.21 and the one that reaches 0.8
    mixed, _ = choose(
        logits.expand(4, -1), np.array([0, 1, 0, 1], np.float32), np.ones(4, np.float32), np.array([0.0, 0, 0, 0.9999])
    )
    assert mixed.tolist() == [2, 0, 2, 4]


# The server's client.


def trouble(url: str, times: int, how: Any) -> None:
    data = json.dumps({"times": times, "how": how}).encode()
    urllib.request.urlopen(urllib.request.Request(url.removesuffix("v1") + "trouble", data)).close()


@asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[ServerEngine]:
    async with ServerEngine("tiny", url, backoff=0.01, **options) as engine:
        yield engine


@pytest.mark.parametrize("how", [503, 500, 429, "drop"])
def test_what_passes_is_tried_again(url: str, model: Any, how: Any) -> None:
    async def check() -> None:
        async with client(url) as engine:
            trouble(url, 2, how)
            output = await engine.generate([3, 4, 5], SamplingParams(max_tokens=4))
            assert_from(model, [3, 4, 5], output)
            assert engine.retries == 2
            trouble(url, 5, how)
            with pytest.raises(ServerError) as caught:
                await engine.generate([3, 4, 5], SamplingParams(max_tokens=4))
            assert caught.value.kind in ("server_busy", "server_error")
            assert engine.retries == 6

    asyncio.run(check())


def test_what_does_not_pass_is_told_at_once(url: str) -> None:
    async def check() -> None:
        async with client(url, timeout=0.3) as engine:
            await engine.generate([3], SamplingParams(max_tokens=1))
            for how, kind in (("late", "timeout"), ("text", "bad_response")):
                trouble(url, 1, how)
                with pytest.raises(ServerError) as caught:
                    await engine.generate([3], SamplingParams(max_tokens=1))
                assert caught.value.kind == kind
            trouble(url, 1, 401)
            with pytest.raises(UsageError, match="set the environment variable OPENAI_API_KEY"):
                await engine.generate([3], SamplingParams(max_tokens=1))
            assert engine.retries == 0
            with pytest.raises(UsageError, match="processed_logprobs"):
                await engine.generate([3], SamplingParams(temperature=0.5))
        async with ServerEngine("huge", url) as engine:
            with pytest.raises(UsageError, match="has no model 'huge'; it has: tiny"):
                await engine.generate([3], SamplingParams())
        async with ServerEngine("tiny", "http://127.0.0.1:9/v1", max_retries=1, backoff=0.01) as engine:
            with pytest.raises(ServerError, match="is the server running there") as caught:
                await engine.generate([3], SamplingParams())
            assert caught.value.kind == "server_unreachable"

    asyncio.run(check())


def test_new_weights_wait_for_turns_and_turns_for_them(url: str, tmp_path: Path, model: Any) -> None:
    folder = save(tmp_path, model)

    async def check() -> None:
        async with client(url) as engine:
            long = SamplingParams(max_tokens=100)
            await engine.generate([3], SamplingParams(max_tokens=1))
            before = [asyncio.create_task(engine.generate([n], long)) for n in range(10, 16)]
            await asyncio.sleep(0)
            update = asyncio.create_task(engine.update(folder, 1))
            await asyncio.sleep(0)
            after = asyncio.create_task(engine.generate([3], long))
            assert {(await turn).weight_version for turn in before} == {0}
            await update
            assert (await after).weight_version == 1

    asyncio.run(check())


# The tokenizer.


def test_a_rollout_speaks_through_a_hugging_face_tokenizer(tmp_path: Path) -> None:
    save(tmp_path, tiny_model())
    tokenizer = HuggingFaceTokenizer.load(tmp_path)
    assert set(tokenizer.stop_ids) == {2}
    assert tokenizer.size == tiny_tokenizer().size
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    prompt = ChatPrompt(tokenizer, tools)
    context = prompt.begin([{"role": "user", "content": "Who  owns b17 ?"}])
    text = tokenizer.decode(context.ids.tolist())
    assert text.endswith("<|im_start|>user\nWho  owns b17 ?<|im_end|>\n<|im_start|>assistant\n")
    assert '"look_up"' in text
    said = [*tokenizer.encode("b 17 ."), 2]
    assert prompt.text(said) == "b 17 ."
    grown = prompt.grow(said, [{"role": "tool", "content": "c9"}])
    assert not grown.begins
    assert tokenizer.decode(grown.ids) == (
        "\n<|im_start|>tool\n<tool_response>c9</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_is_given_arguments_as_data() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    torn = {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{a"}}
    message = {"role": "assistant", "content": "", "tool_calls": [call, torn]}
    text = tiny_tokenizer().render([message], (), reply=False)
    assert '{"name": "f", "arguments": {"a": 1}}' in text
    assert '{"name": "g", "arguments": "{a"}' in text
    assert message["tool_calls"] == [call, torn]


def test_a_tokenizer_that_cannot_hold_a_conversation_is_refused(tmp_path: Path) -> None:
    plain = tiny_tokenizer().tokenizer
    plain.eos_token = None
    with pytest.raises(UsageError, match="no token that ends a turn"):
        HuggingFaceTokenizer(plain)
    assert set(HuggingFaceTokenizer(plain, stop_ids=[2, 0]).stop_ids) == {0, 2}
    plain.chat_template = None
    with pytest.raises(UsageError, match="no chat template"):
        HuggingFaceTokenizer(plain, stop_ids=[2])
    with pytest.raises(UsageError, match="no such folder here, and no tokenizer"):
        HuggingFaceTokenizer.load(tmp_path / "nothing")


HOST = """
import multiprocessing, sys, time
from tir_gym.agents.engines.orphans import Keeper

if __name__ == "__main__":
    keeper = Keeper()
    with keeper.children():
        child = multiprocessing.get_context(sys.argv[1]).Process(target=time.sleep, args=(600,))
        child.start()
        print(child.pid, keeper._process.pid, flush=True)
        while sys.argv[2] == "starting":
            time.sleep(1)
    input()
    keeper.close()
    child.join()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can do it")
@pytest.mark.parametrize(("start", "end"), [("fork", "killed"), ("spawn", "starting"), ("fork", "closed")])
def test_what_an_engine_starts_ends_with_its_host(start: str, end: str, tmp_path: Path) -> None:
    """Killed at work, killed while it starts, closed."""
    (tmp_path / "host.py").write_text(HOST)
    command = [sys.executable, str(tmp_path / "host.py"), start, end]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        child, keeper = map(int, host.stdout.readline().split())
        handle = os.pidfd_open(child)
        try:
            held = Path(f"/proc/{keeper}/fdinfo")
            while not any(f"Pid:\t{child}\n" in each.read_text() for each in held.iterdir()):
                time.sleep(0.02)
            host.communicate("end\n") if end == "closed" else host.kill()
            assert select.select([handle], [], [], 20)[0], "the child still runs"
            assert host.wait(timeout=20) == (0 if end == "closed" else -signal.SIGKILL)
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
            host.kill()
