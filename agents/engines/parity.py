"""Does an engine sample from the weights that it was given? Its log-probabilities against those of the model itself.

Run after every update. An engine computes the same function in another way (a cache, other kernels, weights packed in
advance), so a little difference is rounding and a large one is a bug that training would not survive and reward curves
would not show: stale weights, a layer that was not loaded, another chat model's scaling. One is well known: where input
and output embeddings are tied, vLLM on a CPU packs the output matrix once and keeps the old one through every reload.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.agents.engines.engine import Engine
from tir_gym.errors import TirGymError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ParityReport:
    """How far an engine is from a model."""

    largest: float
    """Difference of a log-probability: in nats, or as a share of it where it lies beyond one nat, since rounding grows
    with what is rounded."""
    mean: float
    """Of these differences."""
    tokens: int
    """How many were compared."""
    weight_version: int
    """The engine's, when it was asked."""


class ParityError(TirGymError):
    """The engine does not sample from the model's weights. `report` says how far off it is."""

    def __init__(self, message: str, report: ParityReport) -> None:
        super().__init__(message)
        self.report = report


async def check_parity(
    engine: Engine,
    model: PreTrainedModel,
    probes: Sequence[Sequence[int] | NDArray[np.int32]] | None = None,
    *,
    tolerance: float | None = None,
) -> ParityReport:
    """Compare, and stop where they differ.

    In float32 the largest difference counts. In lower precision single tokens differ by rounding alone, so the mean
    difference counts.

    Args:
        engine: Its `logprobs` are asked for.
        model: What it should sample from; its own forward pass is the measure.
        probes: Sequences of at least two tokens, best from rollouts; four of random tokens by default.
        tolerance: See `ParityReport`; 1e-5 where the model is float32, else 1e-3. Give 1e-3 for a float32 model whose
            engine is not.

    Raises:
        ParityError: They differ by more, or a value is not a number.
        UsageError: A probe has no second token.
    """
    import torch

    single = model.dtype == torch.float32 and (tolerance is None or tolerance < 1e-3)
    limit = tolerance if tolerance is not None else 1e-5 if single else 1e-3
    sequences = [
        np.asarray(probe, dtype=np.int32) for probe in (probes if probes is not None else random_probes(model))
    ]
    if not sequences or any(len(ids) < 2 for ids in sequences):
        raise UsageError(
            "a probe has at least two tokens, for the first stands after nothing; and there is at least one"
        )
    version = engine.weight_version
    pairs = [((await engine.logprobs(ids))[1:], model_logprobs(model, ids)[1:]) for ids in sequences]
    gaps = np.concatenate([_gaps(ours, theirs) for ours, theirs in pairs])
    report = ParityReport(float(gaps.max()), float(gaps.mean()), len(gaps), version)
    found = report.largest if single else report.mean
    if not found <= limit:
        raise ParityError(_explained(engine, model, sequences, pairs, report, single, limit), report)
    return report


def model_logprobs(model: PreTrainedModel, ids: Sequence[int] | NDArray[np.int32]) -> NDArray[np.float32]:
    """What the model's own forward pass says of each token after those before it, `[N]`; 0 for the first."""
    import torch

    given = torch.as_tensor(np.asarray(ids, dtype=np.int64), device=model.device)
    training = model.training
    model.train(False)
    try:
        with torch.no_grad():
            logits = model(input_ids=given[None, :-1], use_cache=False).logits[0].float()
            scores = torch.log_softmax(logits, -1).gather(1, given[1:, None])[:, 0]
    finally:
        model.train(training)
    return np.concatenate((np.zeros(1, dtype=np.float32), scores.cpu().numpy()))


def random_probes(model: PreTrainedModel, *, count: int = 4, length: int = 48) -> list[NDArray[np.int32]]:
    """Sequences of random tokens, the same ones each time: every row of both embeddings counts alike."""
    config = model.config.get_text_config()
    most = min(length, getattr(config, "max_position_embeddings", length) - 1)
    return [ids.astype(np.int32) for ids in np.random.default_rng(0).integers(config.vocab_size, size=(count, most))]


def _gaps(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.abs(ours.astype(np.float64) - theirs) / np.maximum(1.0, np.abs(theirs.astype(np.float64)))


def _explained(
    engine: Engine,
    model: PreTrainedModel,
    sequences: Sequence[NDArray[np.int32]],
    pairs: Sequence[tuple[Any, Any]],
    report: ParityReport,
    single: bool,
    limit: float,
) -> str:
    gaps = [np.nan_to_num(_gaps(ours, theirs), nan=np.inf) for ours, theirs in pairs]
    probe = int(np.argmax([gap.max() for gap in gaps]))
    at = int(gaps[probe].argmax())
    ours, theirs = pairs[probe][0][at], pairs[probe][1][at]
    measured = f"by up to {report.largest:.2e}" if single else f"by {report.mean:.2e} on average"
    if model.config.get_text_config().tie_word_embeddings:
        hint = (
            "the model ties its embeddings (tie_word_embeddings=True), and some engines keep the old output matrix "
            "when they load new weights: make the policy with untied embeddings"
        )
    else:
        hint = "did the new weights reach it, under these names, adapters merged, in the same precision?"
    return (
        f"{type(engine).__name__} does not sample from the model's weights (version {report.weight_version}): "
        f"log-probabilities differ {measured}, {limit:.0e} is allowed; most at token {at + 1} of probe {probe} "
        f"(id {sequences[probe][at + 1]}): {ours:.6f} there, {theirs:.6f} here; {hint}"
    )
