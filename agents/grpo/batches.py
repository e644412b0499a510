"""From rows of tokens to what a model is given, padded or packed, and back to the log-probability of each token.

Padded: rows of about one length, filled up at the end; no mask is needed, because nothing sees what comes after it.
What they all begin with, such as the list of tools, can be computed once.
Packed: rows laid end to end in one; positions begin again at 0 with each, from which transformers knows that a row
sees only itself (a block-diagonal mask, or flash attention's own form of it). Both give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tir_gym.rollout import Flat

_CHUNK = 4096
"""Positions whose logits are looked at together: softmax in float32 takes 4 bytes for each word of the vocabulary."""


@dataclass(frozen=True, eq=False)
class Row:
    """A sequence to learn from: L tokens, prompt and response."""

    ids: NDArray[np.int64]
    """`[L]`."""
    mask: NDArray[np.bool_]
    """`[L]`: which were sampled; never the first."""
    logprobs: NDArray[np.float32]
    """`[L]`: when they were sampled; 0 elsewhere."""
    advantages: NDArray[np.float32]
    """`[L]`, 0 elsewhere."""
    turn: NDArray[np.int64]
    """`[L]`: number of the turn that a token was sampled in; -1 elsewhere."""

    @property
    def sampled(self) -> int:
        return int(self.mask.sum())

    @staticmethod
    def of(flat: Flat, advantages: NDArray[np.float32], *, first: int = 0) -> Row:
        """A segment as a row.

        Args:
            flat: The segment.
            advantages: `[R]`.
            first: The first turn to learn from: a fork's earlier ones are learned from where they were sampled.
        """
        prompt = np.zeros(len(flat.prompt_ids))
        return Row(
            ids=np.concatenate([flat.prompt_ids, flat.response_ids]).astype(np.int64),
            mask=np.concatenate([prompt, flat.turn_of_token >= first]) > 0,
            logprobs=np.concatenate([prompt, flat.logprobs]).astype(np.float32),
            advantages=np.concatenate([prompt, advantages]).astype(np.float32),
            turn=np.concatenate([prompt - 1, flat.turn_of_token]).astype(np.int64),
        )


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """What goes through the model at once, and of K tokens what the loss needs."""

    input_ids: Tensor
    """`[B, L]`; `[1, L]` where packed."""
    position_ids: Tensor | None
    """`[1, L]` where packed."""
    common: int
    """Columns at the beginning that are the same in all rows and are computed once; 0 where that is not wanted."""
    keep: Tensor
    """`[C]`: columns whose logits are needed; K = B * C."""
    target: Tensor
    """`[K]`: the token after each of them."""
    mask: Tensor
    """`[K]` bool: whether it was sampled."""
    old_logprobs: Tensor
    """`[K]`."""
    advantages: Tensor
    """`[K]`."""
    weight: Tensor
    """`[K]`: what its row's tokens count, 0 where not sampled."""
    turn: Tensor
    """`[K]`: integers from 0 up, one for each turn of each row."""
    row: Tensor
    """`[K]`: integers from 0 up, one for each row."""


def micro_batches(
    rows: Sequence[Row],
    weights: Sequence[float],
    *,
    budget: int,
    packing: bool,
    device: torch.device,
    sharing: bool = False,
) -> Iterator[MicroBatch]:
    """Rows, the longest first, in as many forward passes as `budget` tokens each need.

    Args:
        rows: What to learn from.
        weights: What a sampled token of each row counts.
        budget: Tokens of a pass, padding included; a longer row goes alone.
        packing: Lay rows end to end, or pad them.
        device: Where the tensors go.
        sharing: Compute what all rows of a pass begin with once; not with packing.
    """
    made = partial(_made, packing=packing, device=device, sharing=sharing and not packing)
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i))
    taken: list[int] = []
    tokens = 0
    for i in order:
        length = len(rows[i].ids)
        grown = tokens + length if packing else (len(taken) + 1) * len(rows[taken[0]].ids if taken else rows[i].ids)
        if taken and grown > budget:
            yield made([rows[j] for j in taken], [weights[j] for j in taken])
            taken, grown = [], length
        taken.append(i)
        tokens = grown
    if taken:
        yield made([rows[j] for j in taken], [weights[j] for j in taken])


def token_logprobs(
    model: torch.nn.Module, batch: MicroBatch, temperature: float, *, entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token under softmax(logits / temperature), and the entropy before it.

    Args:
        model: A causal LM of transformers.
        batch: Its input.
        temperature: That of sampling: the policy that is trained is the one that sampled.
        entropy: Whether the entropy shall have a gradient; it is known either way.

    Returns:
        `[K]` and `[K]`, float32; entropy in nats.
    """
    logits = _logits(model, batch)
    logits = logits.reshape(-1, logits.shape[-1])
    if len(logits) <= _CHUNK:
        return _read(logits, batch.target, temperature, entropy)
    # Piece by piece, computed again on the way back, so that the float32 copy is never there as a whole.
    pieces = [
        checkpoint(_read, piece, target, temperature, entropy, use_reentrant=False)
        for piece, target in zip(torch.split(logits, _CHUNK), torch.split(batch.target, _CHUNK), strict=True)
    ]
    return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])


def _logits(model: torch.nn.Module, batch: MicroBatch) -> Tensor:
    """`[B, C, V]`. Keys and values of what is common are the same for each row, and their gradients add up."""
    if not batch.common:
        return model(  # type: ignore[no-any-return]
            input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, logits_to_keep=batch.keep
        ).logits
    beginning, rest = batch.input_ids[:1, : batch.common], batch.input_ids[:, batch.common :]
    cache = model(input_ids=beginning, use_cache=True, logits_to_keep=1).past_key_values
    cache.batch_repeat_interleave(len(rest))
    return model(  # type: ignore[no-any-return]
        input_ids=rest, past_key_values=cache, use_cache=True, logits_to_keep=batch.keep - batch.common
    ).logits


def _read(logits: Tensor, target: Tensor, temperature: float, with_gradient: bool) -> tuple[Tensor, Tensor]:
    every = torch.log_softmax(logits.float() / temperature, dim=-1)
    with nullcontext() if with_gradient else torch.no_grad():
        entropy = -(every.exp() * every).sum(-1)
    return every.gather(1, target[:, None])[:, 0], entropy


def _made(
    rows: Sequence[Row], weights: Sequence[float], *, packing: bool, device: torch.device, sharing: bool
) -> MicroBatch:
    width = sum(len(row.ids) for row in rows) if packing else max(len(row.ids) for row in rows)
    shape = (1, width) if packing else (len(rows), width)
    fields: dict[str, Any] = {
        "ids": np.zeros(shape, dtype=np.int64),
        "mask": np.zeros(shape, dtype=bool),
        "logprobs": np.zeros(shape, dtype=np.float32),
        "advantages": np.zeros(shape, dtype=np.float32),
        "weight": np.zeros(shape, dtype=np.float32),
        "turn": np.zeros(shape, dtype=np.int64),
        "row": np.zeros(shape, dtype=np.int64),
    }
    position = np.zeros(shape, dtype=np.int64)
    start = turns = 0
    for i, (row, weight) in enumerate(zip(rows, weights, strict=True)):
        place = (0, slice(start, start + len(row.ids))) if packing else (i, slice(0, len(row.ids)))
        for name in ("ids", "mask", "logprobs", "advantages"):
            fields[name][place] = getattr(row, name)
        fields["weight"][place] = weight * row.mask
        fields["turn"][place] = np.where(row.turn >= 0, turns + row.turn, 0)
        fields["row"][place] = i
        position[place] = np.arange(len(row.ids))
        turns += int(row.turn.max(initial=-1)) + 1
        start += len(row.ids)
    # The logits of a column tell the token in the next one; the first of a row is never sampled.
    keep = np.flatnonzero(fields["mask"].any(axis=0)) - 1
    same = (fields["ids"][:, : keep[0]] == fields["ids"][0, : keep[0]]).all(axis=0)
    common = int(same.cumprod().sum()) if sharing and len(rows) > 1 else 0

    def after(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(fields[name][:, keep + 1])).reshape(-1).to(device)

    return MicroBatch(
        input_ids=torch.from_numpy(fields["ids"]).to(device),
        position_ids=torch.from_numpy(position).to(device) if packing else None,
        common=common,
        keep=torch.from_numpy(keep).to(device),
        target=after("ids"),
        mask=after("mask"),
        old_logprobs=after("logprobs"),
        advantages=after("advantages"),
        weight=after("weight"),
        turn=after("turn"),
        row=after("row"),
    )
