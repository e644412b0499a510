"""Policies made from nothing: same bytes for same seeds, tokens that can be copied, prompts that only grow."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # other tests of this process may fork

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen3ForCausalLM

from tir_gym import ToolCall, UsageError
from tir_gym.agents.engines import HuggingFaceTokenizer
from tir_gym.agents.policies import SIZES, make_policy
from tir_gym.agents.policies.making import qwen3_config
from tir_gym.cli import main
from tir_gym.dialects import get_dialect
from tir_gym.making import make_env
from tir_gym.rollout import ChatPrompt

LOOKUP = "tir_gym/Lookup-v0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer.load(folder)


def make(folder: Path, **options: Any) -> Path:
    return make_policy(folder, **{"size": "0.2M", "envs": [LOOKUP], "conversations": 30, "seed": 7, **options}).folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # of no concern to whoever gives a seed
    again = contents(make(tmp_path / "again"))
    assert again == contents(folder)
    other = contents(make(tmp_path / "other", seed=8))
    assert other["model.safetensors"] != again["model.safetensors"]
    assert other["tokenizer.json"] != again["tokenizer.json"]


def test_making_a_policy_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    make(tmp_path / "policy")
    assert torch.equal(torch.rand(4), wanted)


def test_transformers_loads_it(folder: Path, tokenizer: HuggingFaceTokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert isinstance(model, Qwen3ForCausalLM)
    assert model.dtype == torch.float32
    loaded = AutoTokenizer.from_pretrained(folder)
    assert len(loaded) == model.config.vocab_size == tokenizer.size
    assert loaded.eos_token == "<|im_end|>"
    assert GenerationConfig.from_pretrained(folder).eos_token_id == loaded.eos_token_id == model.config.eos_token_id
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)  # not tied, but equal at first
    logits = model(torch.tensor([loaded.encode("boss of B73?")])).logits
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_what_they_are_called(size: str) -> None:
    shape = SIZES[size]
    with torch.device("meta"):
        model = Qwen3ForCausalLM(qwen3_config(shape, vocabulary=shape.vocabulary, end=2, pad=0))
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == pytest.approx(float(size.removesuffix("M")) * 1e6, rel=0.15)


# Tokens.


@settings(max_examples=200)
@given(st.text())
def test_any_text_comes_back(tokenizer: HuggingFaceTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_an_id_is_the_same_tokens_wherever_it_stands(tokenizer: HuggingFaceTokenizer) -> None:
    tokens = ["B", "7", "3"]
    call = get_dialect("hermes").render("", [ToolCall("boss", {"of": "B73"})])
    assert isinstance(call, str)
    for text in ("B73", "boss of B73?", "old: boss of B73 = K41.", "boss of K41 = B73, head", call, "B73, K41"):
        pieces = [tokenizer.decode([id]) for id in tokenizer.encode(text)]
        assert "".join(pieces) == text
        assert any(pieces[i : i + 3] == tokens for i in range(len(pieces))), pieces


def test_a_call_of_lookup_is_few_tokens(tokenizer: HuggingFaceTokenizer) -> None:
    call = get_dialect("hermes").render("", [ToolCall("boss", {"of": "B73"})])
    assert isinstance(call, str)
    assert [tokenizer.decode([id]) for id in tokenizer.encode(call)] == [
        "<tool_call>", '\n{"name": "', "boss", '", "arguments": {"of": "', "B", "7", "3", '"}}\n', "</tool_call>",
    ]  # fmt: skip


# The chat template.


def test_calls_are_rendered_as_the_dialect_says_them(tokenizer: HuggingFaceTokenizer) -> None:
    calls = [ToolCall("boss", {"of": "B73"}), ToolCall("head", {"of": "K41", "at": [1, None]})]
    openai = get_dialect("openai")
    for text in ("", "Both at once."):
        message = openai.render(text, calls)
        assert isinstance(message, dict)
        shown = tokenizer.render([{"role": "user", "content": "?"}, message], (), reply=False)
        said = get_dialect("hermes").render(text, calls)
        assert shown == f"<|im_start|>user\n?<|im_end|><|im_start|>assistant\n{said}<|im_end|>"


def test_tools_are_named_with_what_they_take(tokenizer: HuggingFaceTokenizer) -> None:
    properties = {
        "of": {"type": "string"},
        "n": {"type": "integer"},
        "unit": {"type": "string", "enum": ["m", "km"]},
        "any": {},
    }
    function = {"name": "find", "description": "Long.", "parameters": {"properties": properties, "required": ["of"]}}
    tools = [{"type": "function", "function": function}, {"type": "function", "function": {"name": "now"}}]
    listed = "Tools:\nfind(of, n?: integer, unit?: m|km, any?)\nnow()<|im_end|>"
    user = {"role": "user", "content": "Go."}
    went = "<|im_start|>user\nGo.<|im_end|><|im_start|>assistant\n"
    assert tokenizer.render([user], tools, reply=True) == f"<|im_start|>system\n{listed}{went}"
    system = {"role": "system", "content": "Be brief."}
    assert tokenizer.render([system, user], tools, reply=True) == f"<|im_start|>system\nBe brief.\n{listed}{went}"
    assert tokenizer.render([system, user], (), reply=True) == f"<|im_start|>system\nBe brief.<|im_end|>{went}"
    assert tokenizer.render([user], (), reply=True) == went


@settings(max_examples=60)
@given(st.data())
def test_a_prompt_always_goes_on(tokenizer: HuggingFaceTokenizer, data: st.DataObject) -> None:
    """Whatever tokens are sampled, and whoever answers, nothing that stands there is changed."""
    env = make_env(LOOKUP, dialect="hermes", hops=2, branches=1)
    observation, info = env.reset(seed=1)
    prompt = ChatPrompt(tokenizer, info["tools"])
    ids = list(prompt.begin(observation).ids)
    text = tokenizer.decode(ids)
    for _ in range(3):
        said = data.draw(st.lists(st.integers(0, tokenizer.size - 1), min_size=1, max_size=8))
        role = data.draw(st.sampled_from(["tool", "user"]))
        context = prompt.grow(said, [{"role": role, "content": data.draw(st.sampled_from(["K41", "", '{"a": 1}']))}])
        assert not context.begins
        piece = tokenizer.decode(context.ids)
        assert re.fullmatch(rf"(<\|im_end\|>)?<\|im_start\|>{role}\n.*<\|im_end\|><\|im_start\|>assistant\n", piece)
        text += piece
    assert text.count("Tools:") == 1


# The command, and what cannot be.


def test_the_command_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "policy"
    words = ["make-policy", str(out), "--size", "0.2M", "--env", LOOKUP, "--env-arg", "hops=1", "--conversations", "5"]
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert document["parameters"] == sum(p.numel() for p in model.parameters())
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": "7B"}, "no size '7B'; choose one of 0.2M, 1M"),
        ({"vocabulary": 260}, "vocabulary=260: 261 tokens are the least"),
        ({"envs": []}, "no environment"),
        ({"envs": ["tir_gym/Nowhere-v0"]}, "no environment 'tir_gym/Nowhere-v0'"),
    ],
)
def test_what_cannot_be_made_is_refused(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        make(tmp_path / "policy", **options)
    assert not (tmp_path / "policy").exists()
