"""How much memory and time a run would need, from its config alone: nothing is loaded and nothing is downloaded.

The formulas are the usual ones, good to a factor of two in time and some tenths in memory; they are printed with the
figures, so that whoever knows better can correct them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tir_gym.agents.grpo.config import GrpoConfig
from tir_gym.errors import UsageError

GIB = 2**30

CPU_FLOPS = 4e10
"""Sustained by one core in float32."""
GPU_FLOPS = 2.5e14
"""Sustained by one accelerator in bfloat16 at a third of its peak of 0.8 PFLOP/s."""
GPU_BYTES = 3.0e12
"""Bytes per second that decoding reads, of an accelerator of 4.8 TB/s."""


@dataclass(frozen=True)
class Dimensions:
    """Of a decoder-only transformer with gated MLPs."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        """Embedding and output; of each layer queries, keys, values, output, the MLP's three matrices; norms apart."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        words = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return words + self.layers * (attention + 3 * self.hidden * self.mlp)


KNOWN: dict[str, Dimensions] = {
    "Qwen/Qwen3-4B": Dimensions(2560, 36, 32, 8, 128, 9728, 151936, True),
    "Qwen/Qwen3-8B": Dimensions(4096, 36, 32, 8, 128, 12288, 151936, False),
}
"""As their `config.json` has them."""


def dimensions(policy: str) -> Dimensions:
    """Of a policy in a folder, or of a known one.

    Raises:
        UsageError: Neither; nothing is downloaded.
    """
    if policy in KNOWN:
        return KNOWN[policy]
    file = Path(policy) / "config.json"
    if not policy or not file.is_file():
        known = ", ".join(KNOWN)
        raise UsageError(f"policy {policy!r} is no folder with a config.json; an estimate knows {known} without one")
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        heads = config["num_attention_heads"]
        found = Dimensions(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads", heads),
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            mlp=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=config.get("tie_word_embeddings", False),
        )
    except KeyError as missing:
        raise UsageError(f"{file} has no {missing}; the estimate knows transformers with gated MLPs only") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{file} is no config of a model: {error}") from None
    for name, value in vars(found).items():
        if not isinstance(value, int):
            raise UsageError(f"{file} is no config of a model: {name} is {value!r:.80}, no whole number")
    return found


def estimate(config: GrpoConfig, *, gpus: int, length: int | None = None) -> list[tuple[str, str, str]]:
    """Figures of a run.

    Args:
        config: The run.
        gpus: Accelerators of the learner; 0 for one CPU core.
        length: Tokens of a rollout, prompt included, on average; a third of `rollout.context` if absent.

    Returns:
        Rows (what, how much, by which formula).
    """
    dims = dimensions(config.policy)
    n = dims.parameters
    lora = config.model.lora.r
    trained = _lora_parameters(dims, lora) if lora else n
    share = max(1, gpus)
    half = config.model.precision == "bf16"
    length = length or config.rollout.context // 3
    rollouts = config.rollout.prompts * config.rollout.group
    tokens = rollouts * length

    weights = (2 if lora and half else 4) * n + (4 * trained if lora else 0)
    states = 12 * trained
    reference = 0 if not config.loss.kl or lora else (2 if half else 4) * n
    width = 2 if half else 4
    micro = max(config.model.micro_tokens, length)
    per_token = dims.hidden * dims.layers * (1 if config.model.checkpoint_activations else 17) * width
    if config.model.checkpoint_activations:
        per_token += 17 * dims.hidden * width  # of the layer that is being computed again
    activations = micro * per_token
    logits = min(micro, tokens) * dims.vocabulary * width + 4096 * dims.vocabulary * 8
    cache = 2 * dims.layers * dims.kv_heads * dims.head_dim * width * min(config.rollout.concurrency, rollouts) * length
    engine = 0 if config.rollout.engine == "server" else width * n + cache
    total = (weights + states + reference) / share + activations + logits + engine

    flops = GPU_FLOPS * share if gpus else CPU_FLOPS
    passes = (8 if config.model.checkpoint_activations else 6) + (2 if config.loss.kl else 0)
    attention = 2 * dims.layers * dims.heads * dims.head_dim * length  # a pass's share that grows with the length
    train = tokens * config.optim.epochs * passes * (n + attention) / flops
    sampled = tokens / 2
    sample = sampled * 2 * (n + attention) / flops
    if gpus:  # decoding reads all weights and each sequence's cache for every token
        concurrent = min(config.rollout.concurrency, rollouts)
        sample = max(sample, sampled / concurrent * (2 * n + cache) / (GPU_BYTES * share))
    step = train + sample
    return [
        ("parameters", f"{n / 1e6:,.1f} M, {trained / 1e6:,.1f} M trained", "words + layers x (attention + MLP)"),
        ("tokens of a step", f"{tokens:,}", f"{rollouts} rollouts x {length} tokens"),
        ("weights and gradients", _gib((weights + 4 * trained) / share), "4 B a weight and a gradient, over the GPUs"),
        ("optimiser", _gib(8 * trained / share), "8 B a weight (AdamW), over the GPUs"),
        ("reference", _gib(reference / share), f"{width} B a weight; none without KL, or with LoRA"),
        ("activations", _gib(activations), f"{micro:,} tokens x hidden x layers x {width} B x what is kept"),
        ("logits", _gib(logits), f"tokens x vocabulary x {width} B, and 8 B of 4,096 at a time"),
        ("engine beside it", _gib(engine), "a copy of the weights and the cache; none with servers"),
        ("memory of each device", _gib(total), "their sum"),
        ("sampling", _time(sample), "2 N FLOP a token, half of the tokens sampled; or bytes read"),
        ("learning", _time(train), f"{passes} N FLOP a token and epoch"),
        ("a step", _time(step), "tools and weight transfer apart"),
        ("the run", _time(step * config.steps), f"{config.steps} steps, evaluation apart"),
    ]


def assumption(gpus: int) -> str:
    """What the times rest on, in a line."""
    if gpus:
        speed = f"{GPU_FLOPS / 1e12:.0f} TFLOP/s sustained, {GPU_BYTES / 1e12:.0f} TB/s read"
        return f"{gpus} x {speed}: assumed, not measured"
    return f"one core at {CPU_FLOPS / 1e9:.0f} GFLOP/s sustained; a tiny policy's overheads come on top"


def _lora_parameters(dims: Dimensions, r: int) -> int:
    wide, narrow = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    shapes = [(dims.hidden, wide), (dims.hidden, narrow), (dims.hidden, narrow), (wide, dims.hidden)]
    shapes += [(dims.hidden, dims.mlp)] * 2 + [(dims.mlp, dims.hidden)]
    return dims.layers * r * sum(a + b for a, b in shapes)


def _gib(count: float) -> str:
    return f"{count / GIB:,.2f} GiB" if count >= GIB / 10 else f"{count / 2**20:,.1f} MiB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
