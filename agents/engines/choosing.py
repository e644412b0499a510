"""From logits to tokens: every row with its own temperature, nucleus and random number.

A row's token is where its uniform number falls in the cumulative distribution, in double precision. So a row needs one
number per token whatever the size of the vocabulary, and no row's draw touches another's.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def choose(
    logits: torch.Tensor, temperatures: NDArray[np.float32], top_p: NDArray[np.float32], uniforms: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A token for each row.

    Args:
        logits: `[n, V]`.
        temperatures: `[n]`; 0 takes the likeliest token.
        top_p: `[n]`: of this probability in all are the tokens that may be drawn.
        uniforms: `[n]`: in [0, 1).

    Returns:
        Tokens `[n]`, and their log-probabilities `[n]` under softmax(logits / temperature) of all tokens, of softmax(
        logits) where the temperature is 0.

    Raises:
        FloatingPointError: The logits are not finite.
    """
    greedy = temperatures == 0
    logits = logits.float()
    if not np.all(temperatures[~greedy] == 1):
        divisors = torch.from_numpy(np.where(greedy, np.float32(1), temperatures)).to(logits.device)
        logits = logits / divisors[:, None]
    logprobs = torch.log_softmax(logits, -1)
    if greedy.all():
        ids = logits.argmax(-1)
    else:
        ids = _draw(logprobs, top_p, uniforms)
        if greedy.any():
            ids = torch.where(torch.from_numpy(greedy).to(ids.device), logits.argmax(-1), ids)
    chosen: NDArray[np.float32] = logprobs.gather(1, ids[:, None])[:, 0].cpu().numpy()
    if not np.isfinite(chosen).all():
        raise FloatingPointError("the model's logits are not finite")
    return ids.cpu().numpy(), chosen


def _draw(logprobs: torch.Tensor, top_p: NDArray[np.float32], uniforms: NDArray[np.float64]) -> torch.Tensor:
    probabilities = logprobs.double().exp_()
    narrowed = np.flatnonzero(top_p < 1)
    if narrowed.size:
        rows = torch.from_numpy(narrowed).to(logprobs.device)
        mass = torch.from_numpy(top_p[narrowed]).to(logprobs.device)
        probabilities[rows] = _nucleus(probabilities[rows], mass.double())
    cumulative = probabilities.cumsum_(-1)
    total = cumulative[:, -1:]
    points = torch.from_numpy(uniforms).to(logprobs.device)[:, None] * total
    # Below the total also after rounding: else a token of probability 0 at the end could be found.
    points = torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, points, right=True)[:, 0].clamp_(max=logprobs.shape[1] - 1)


def _nucleus(probabilities: torch.Tensor, mass: torch.Tensor) -> torch.Tensor:
    """Only the likeliest tokens that together reach the mass, the one that reaches it included; ties in vocabulary
    order."""
    ordered, order = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    kept = torch.where(before < mass[:, None], ordered, torch.zeros_like(ordered))
    return torch.zeros_like(probabilities).scatter_(1, order, kept)
