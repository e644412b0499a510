"""Supervised fine-tuning: a policy learns to say what a demonstrator said, token by token.

Demonstrations are laid out by `ChatPrompt` and `Recording`, so a policy learns on the very tokens that it will be given
and sample in a rollout. The loss is the mean negative log-likelihood of the demonstrator's own tokens; the prompt and
what tools gave back are attended to and never learned. On a CPU the same arguments give the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from tir_gym.errors import UsageError
from tir_gym.rollout import Flat

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class SupervisedConfig:
    """How to learn. The defaults are the recipe of a policy of 1M parameters, see `docs/training.md`."""

    steps: int = 400
    batch: int = 16
    """Demonstrations of a step. Copying is learned by steps more than by demonstrations."""
    lr: float = 3e-3
    """The highest learning rate: reached by a line in `warmup` steps, left by a cosine to a twentieth at the end."""
    warmup: int = 60
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: give at least 1")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.lr * min(1.0, (step + 1) / max(1, self.warmup)) * max(0.05, cosine)


def train_supervised(
    model: PreTrainedModel,
    examples: Iterator[Flat],
    config: SupervisedConfig,
    *,
    on_step: Callable[[dict[str, float]], None] = lambda figures: None,
    done: int = 0,
    tensors: Mapping[str, Any] | None = None,
    checkpoint_every: int = 0,
    on_checkpoint: Callable[[int, dict[str, Any]], None] = lambda step, tensors: None,
) -> None:
    """Train a model in place, on the device it is on.

    Args:
        model: A causal language model.
        examples: `config.steps * config.batch` of them are taken, less those of the steps that are done.
        config: How.
        on_step: Called after each step with its figures: `step`, `loss`, `lr`, `grad_norm`, `own_tokens`, `tokens`.
        done: Steps that the model has behind it.
        tensors: What `on_checkpoint` was given after that step.
        checkpoint_every: Steps between two checkpoints; 0 for none. There is none after the last step.
        on_checkpoint: Called with the number of steps done and what is needed to go on beside the model: the
            optimiser's state and random numbers.
    """
    import torch

    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98))
    if tensors is not None:
        optimizer.load_state_dict(tensors["optimizer"])
        _set_random(tensors["random"])
    model.train()
    for step in range(done, config.steps):
        flats = list(islice(examples, config.batch))
        for group in optimizer.param_groups:
            group["lr"] = config.lr_at(step)
        loss = own_token_loss(model, flats)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        on_step(
            {
                "step": step + 1,
                "loss": loss.item(),
                "lr": config.lr_at(step),
                "grad_norm": float(norm),
                "own_tokens": sum(int(flat.loss_mask.sum()) for flat in flats),
                "tokens": sum(len(flat.attention_mask) for flat in flats),
            }
        )
        if checkpoint_every and (step + 1) % checkpoint_every == 0 and step + 1 < config.steps:
            on_checkpoint(step + 1, {"optimizer": optimizer.state_dict(), "random": _random()})
    model.eval()  # type: ignore[no-untyped-call]


def _random() -> dict[str, Any]:
    """The state of torch's generators, which dropout draws from."""
    import torch

    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def _set_random(state: Mapping[str, Any]) -> None:
    import torch

    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def own_token_loss(model: PreTrainedModel, flats: Sequence[Flat]) -> torch.Tensor:
    """The mean negative log-likelihood of the tokens whose loss mask is 1, over all of the batch.

    Sequences are padded behind their end, where a causal model does not look; so no attention mask is needed. What all
    prompts begin with, such as the list of tools, is computed once: its keys and values are the same for each row, and
    their gradients add up. Logits are computed from the end of the shortest prompt on. The loss and its gradients are
    those of the plain computation but for rounding.
    """
    import torch

    ids, mask = padded(flats)
    start = min(len(flat.prompt_ids) for flat in flats)
    differs = np.flatnonzero((ids[:, : start - 1] != ids[0, : start - 1]).any(axis=0))
    common = int(differs[0]) if len(differs) else start - 1
    inputs = torch.from_numpy(ids).to(model.device)
    kept = ids.shape[1] - start + 1  # from the token before the first response
    cache = None
    if common and len(flats) > 1:
        cache = model(input_ids=inputs[:1, :common], use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(len(flats))
    rest = inputs if cache is None else inputs[:, common:]
    output = model(input_ids=rest, past_key_values=cache, use_cache=cache is not None, logits_to_keep=kept)
    own = torch.from_numpy(mask[:, start:]).to(model.device)
    return torch.nn.functional.cross_entropy(output.logits[:, :-1][own].float(), inputs[:, start:][own])


def padded(flats: Sequence[Flat]) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Token ids `[B, L]`, 0 behind the end of a sequence, and which of them are learned, `[B, L]`."""
    length = max(len(flat.attention_mask) for flat in flats)
    ids = np.zeros((len(flats), length), dtype=np.int64)
    mask = np.zeros((len(flats), length), dtype=np.bool_)
    for row, flat in enumerate(flats):
        start, end = len(flat.prompt_ids), len(flat.attention_mask)
        ids[row, :start], ids[row, start:end] = flat.prompt_ids, flat.response_ids
        mask[row, start:end] = flat.loss_mask
    return ids, mask
