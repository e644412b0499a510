"""A policy from nothing: a Qwen3 model of random weights, a tokenizer trained on our environments, a chat template.

What is written is a folder in Hugging Face's format, which transformers and vLLM load. It knows nothing yet: `tir-gym
sft` shows it how, `tir-gym train` lets it find out better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tir_gym.agents.engines.loading import no_bars
from tir_gym.agents.policies.vocabulary import train_tokenizer
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.making import make_env

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

FAMILIES = tuple(f"tir_gym/{name}-v0" for name in ("Lookup", "Calculator", "Assistant", "Files", "Search", "SQL"))
"""Whose conversations the tokenizer is trained on unless others are named: those that need no jail."""


@dataclass(frozen=True)
class Shape:
    """The shape of a model. Each attention head has its own query, two share keys and values."""

    hidden: int
    layers: int
    heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    """Tokens at most."""
    context: int
    """Positions."""


SIZES: dict[str, Shape] = {
    "0.2M": Shape(hidden=64, layers=2, heads=2, head_dim=32, mlp=256, vocabulary=640, context=1024),
    "1M": Shape(hidden=128, layers=4, heads=4, head_dim=32, mlp=384, vocabulary=1024, context=2048),
    "4M": Shape(hidden=256, layers=4, heads=4, head_dim=64, mlp=768, vocabulary=2048, context=4096),
    "10M": Shape(hidden=320, layers=6, heads=6, head_dim=64, mlp=1024, vocabulary=4096, context=4096),
    "25M": Shape(hidden=448, layers=8, heads=8, head_dim=64, mlp=1536, vocabulary=4096, context=8192),
    "60M": Shape(hidden=640, layers=10, heads=10, head_dim=64, mlp=2048, vocabulary=8192, context=8192),
    "150M": Shape(hidden=896, layers=14, heads=14, head_dim=64, mlp=3072, vocabulary=8192, context=8192),
}
"""By about how many parameters they have with a full vocabulary."""


@dataclass(frozen=True)
class MadePolicy:
    """What was written."""

    folder: Path
    parameters: int
    vocabulary: int


def make_policy(
    folder: str | Path,
    *,
    size: str = "1M",
    envs: Sequence[str] = FAMILIES,
    env_options: Mapping[str, Any] | None = None,
    conversations: int = 200,
    vocabulary: int | None = None,
    seed: int = 0,
) -> MadePolicy:
    """Make a policy and write it.

    Args:
        folder: Where to; a new folder or an empty one.
        size: One of `SIZES`.
        envs: Ids of the environments whose conversations the tokenizer is trained on.
        env_options: For their constructors.
        conversations: How many of each.
        vocabulary: Number of tokens at most, instead of the size's.
        seed: Of the weights and of the conversations. The same arguments give the same bytes.

    Raises:
        MissingExtra: torch or transformers are not installed.
        UsageError: No such size or environment, a vocabulary too small, or a folder that holds something.
    """
    shape = SIZES.get(size)
    if shape is None:
        raise UsageError(f"no size {size!r}; choose one of {', '.join(SIZES)}")
    least = 261  # all bytes, and the tokens that mark messages and calls
    tokens = shape.vocabulary if vocabulary is None else vocabulary
    if tokens < least:
        raise UsageError(f"vocabulary={tokens}: {least} tokens are the least, one for each byte and five marks")
    if not envs:
        raise UsageError("no environment to train the tokenizer on; name at least one")
    target = empty_folder(folder)
    options = {"dialect": "hermes", **(env_options or {}), "split": "train"}
    tokenizer = train_tokenizer(
        (make_env(id, **options) for id in envs), size=tokens, conversations=conversations, seed=seed
    )
    tokenizer.model_max_length = shape.context
    model = new_model(shape, tokenizer, seed=seed)
    target.mkdir(parents=True, exist_ok=True)
    with no_bars():
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return MadePolicy(target, sum(p.numel() for p in model.parameters()), len(tokenizer))


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> Qwen3ForCausalLM:
    """A model of random weights in float32, its end-of-turn token the tokenizer's.

    Embeddings and output weights begin equal and are not tied: what is copied from the prompt is then half way to being
    said, which a small model learns far sooner, and engines that handle tied weights wrongly have nothing to go wrong.
    """
    try:
        import torch
        from transformers import Qwen3ForCausalLM
    except ImportError as error:
        raise MissingExtra("making a policy needs torch and transformers: pip install 'tir-gym[train]'") from error
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):  # the seed is this model's alone
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(qwen3_config(shape, vocabulary=len(tokenizer), end=end, pad=pad))
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    model.generation_config.eos_token_id = end
    model.generation_config.pad_token_id = pad
    return model


def qwen3_config(shape: Shape, *, vocabulary: int, end: int, pad: int) -> Qwen3Config:
    """The shape in transformers' words."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=max(1, shape.heads // 2),
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )


def empty_folder(folder: str | Path) -> Path:
    """The path of a folder that is to be written.

    Raises:
        UsageError: It is there and holds something, or is a file.
    """
    path = Path(folder)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} is there already; name a folder that is new or empty")
    return path
