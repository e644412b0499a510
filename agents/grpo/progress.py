"""How far a run of training has come: the counts that a checkpoint keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tir_gym.agents.checkpoints import broken, load_state


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

    @classmethod
    def of(cls, checkpoint: Path) -> Progress:
        """As a checkpoint has it; errors as `load_state`."""
        try:
            return cls(**load_state(checkpoint))
        except TypeError as error:
            raise broken(checkpoint, error) from error
