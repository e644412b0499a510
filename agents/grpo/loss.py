"""The objective of GRPO and its kin as a function of tensors: no model, no data, no state.

Everything is over K tokens laid end to end, of any number of sequences; `weight` says how much each counts and is 0
where nothing was sampled (prompts, tool output, padding), so neither value nor gradient comes from there.

    r_t   = exp(log pi(t) - log pi_old(t))           the ratio, per token, turn or sequence
    P_t   = min(r_t A_t, clip(r_t, 1 - low, 1 + high) A_t)               PPO (arXiv 1707.06347), eq 7
    P_t   = max(P_t, c A_t) where A_t < 0                                dual clip (arXiv 1912.09729), eq 5
    K_t   = exp(x) - x - 1,  x = log pi_ref(t) - log pi(t)               k3, GRPO (arXiv 2402.03300), eq 4
    loss  = sum_t weight_t (-P_t + kl K_t - entropy H_t)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tir_gym.errors import UsageError

if TYPE_CHECKING:
    from tir_gym.agents.grpo.config import LossConfig

_FAR = 20.0
"""Log-ratios beyond it are cut, so that no token's exponential overflows."""


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weight: Tensor,
    config: LossConfig,
    *,
    unit: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    entropy: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and what to log of it.

    Args:
        logprobs: `[K]`, of the tokens under the policy that learns.
        old_logprobs: `[K]`, under the one that sampled them.
        advantages: `[K]`.
        weight: `[K]`, see `row_weight`; 0 where a token was not sampled.
        config: Which ratio, clips and penalties.
        unit: `[K]` integers from 0 up: the turn or sequence that shares a ratio; for `ratio="turn"` and `"sequence"`.
        ref_logprobs: `[K]`, under the reference; needed where `config.kl` is not 0.
        entropy: `[K]`, of the policy at each token, in nats; needed where `config.entropy` is not 0.

    Returns:
        The loss `[]`, and sums over the tokens that count, `[]` each: `tokens`, `clip_low` and `clip_high` (tokens
        whose gradient a clip took away), `dual_clip`, `approx_kl` (k3 of the sampler from the policy), `kl`,
        `entropy`.

    Raises:
        UsageError: Something that the config needs is missing.
    """
    counts = weight > 0
    # What was not sampled may hold anything, infinities included: it is replaced before it can spoil a gradient.
    log_ratio = torch.where(counts, logprobs - old_logprobs, 0.0).clamp(-_FAR, _FAR)
    ratio = _shared(log_ratio, counts, unit, config.ratio).exp()
    gain = ratio * advantages
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high) * advantages
    objective = torch.minimum(gain, clipped)
    sums = {
        "tokens": counts.sum(),
        "clip_low": (counts & (clipped < gain) & (advantages < 0)).sum(),
        "clip_high": (counts & (clipped < gain) & (advantages > 0)).sum(),
        "approx_kl": torch.where(counts, k3(logprobs, old_logprobs), 0.0).sum(),
    }
    if config.dual_clip is not None:
        floor = config.dual_clip * advantages
        sums["dual_clip"] = (counts & (advantages < 0) & (floor > objective)).sum()
        objective = torch.where(advantages < 0, torch.maximum(objective, floor), objective)
    loss = -objective
    if ref_logprobs is not None:
        divergence = k3(logprobs, ref_logprobs)
        sums["kl"] = torch.where(counts, divergence, 0.0).sum()
        loss = loss + config.kl * divergence
    elif config.kl:
        raise UsageError(f"loss.kl={config.kl} needs the log-probabilities of the reference")
    if entropy is not None:
        sums["entropy"] = torch.where(counts, entropy, 0.0).sum()
        loss = loss - config.entropy * entropy
    elif config.entropy:
        raise UsageError(f"loss.entropy={config.entropy} needs the policy's entropy at each token")
    total = torch.where(counts, weight * loss, 0.0).sum()
    return total, {name: value.detach() for name, value in sums.items()}


def k3(logprobs: Tensor, other: Tensor) -> Tensor:
    """`[K]`: an estimate of KL(pi || other) from tokens of pi: exp(x) - x - 1 with x = log other - log pi.

    Never negative, and its mean over pi's own tokens is the divergence (Schulman 2020, "Approximating KL divergence").
    """
    x = (other - logprobs).clamp(-_FAR, _FAR)
    return x.expm1() - x


def row_weight(length: int, tokens: float, rows: float, *, normalise: str, budget: int) -> float:
    """How much each sampled token of a sequence counts. The counts are those of the whole mini-batch, on all devices,
    so the loss does not depend on how it was cut into micro-batches.

        token      1 / tokens               every token counts the same (DAPO, arXiv 2503.14476)
        sequence   1 / (length rows)        every sequence counts the same (GRPO, arXiv 2402.03300)
        dr_grpo    1 / (budget rows)        a constant, so that no length is favoured (arXiv 2503.20783)

    Args:
        length: Sampled tokens of the sequence, at least 1.
        tokens: Sampled tokens of the mini-batch.
        rows: Sequences of the mini-batch.
        normalise: Which.
        budget: The constant of `dr_grpo`, in tokens: what a sequence may hold.
    """
    if normalise == "token":
        return 1.0 / tokens
    if normalise == "sequence":
        return 1.0 / (length * rows)
    return 1.0 / (budget * rows)


def _shared(log_ratio: Tensor, counts: Tensor, unit: Tensor | None, level: str) -> Tensor:
    """The log-ratio of each token's turn or sequence: the mean over its tokens (GSPO, arXiv 2507.18071, eq 7).

    Its value is the unit's; its gradient is that of the token, so that turns of one sequence may have advantages of
    their own ("GSPO-token", eq 13). Where they have the same one, the two are equal.
    """
    if level == "token":
        return log_ratio
    if unit is None:
        raise UsageError(f"loss.ratio={level!r} needs to know which tokens share a ratio")
    size = int(unit.max()) + 1 if len(unit) else 0
    zeros = log_ratio.new_zeros(size)
    fixed = log_ratio.detach()
    total = zeros.index_add(0, unit, torch.where(counts, fixed, 0.0))
    number = zeros.index_add(0, unit, counts.to(zeros.dtype)).clamp(min=1)
    return (total / number)[unit] + log_ratio - fixed
