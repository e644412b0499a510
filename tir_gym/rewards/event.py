"""What a turn shows to the terms of a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tir_gym.records import ToolCall, ToolResult


@dataclass(slots=True)
class TurnEvent:
    """A turn that was played."""

    turn: int
    """Its index."""
    calls: Sequence[ToolCall] = ()
    results: Sequence[ToolResult] = ()
    """One per call."""
    malformed: int = 0
    """Number of failed attempts at a call."""
    stage: int = 0
    """User turns delivered before it."""
    text: str = ""
    """Its words."""
    seconds: float = 0.0
    """Wall-clock seconds since the last turn, or since reset."""
