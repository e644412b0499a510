"""How far a run of training has come: the counts that a checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Progress:
    """Counts of a run so far."""

    step: int = 0
    """Steps done."""
    weight_version: int = 0
    """Updates that engines were given."""
    sampled_tokens: int = 0
    rollouts: int = 0
    seconds: float = 0.0
    """On the clock, evaluation included."""
    cpu_seconds: float = 0.0
    """Of this process."""
