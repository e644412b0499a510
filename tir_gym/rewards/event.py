"""What a turn shows to the terms of a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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

    @classmethod
    def of(cls, turn: int, played: Played, *, limit: int, stage: int, seconds: float = 0.0) -> TurnEvent:
        """What the terms see of a turn as it was played or recorded.

        Args:
            turn: Its index.
            played: The turn.
            limit: Calls of one message that are run. What goes beyond was not run, earns nothing and costs nothing, and
                no more malformed calls than that are charged; so one message can only cost so much.
            stage: User turns delivered before it.
            seconds: Wall-clock seconds that it took.
        """
        return cls(
            turn=turn,
            calls=played.calls[:limit],
            results=played.results[:limit],
            malformed=min(len(played.malformed), limit),
            stage=stage,
            text=played.text,
            seconds=seconds,
        )


class Played(Protocol):
    """A turn, running or recorded."""

    @property
    def text(self) -> str: ...
    @property
    def calls(self) -> tuple[ToolCall, ...]: ...
    @property
    def results(self) -> tuple[ToolResult, ...]: ...
    @property
    def malformed(self) -> tuple[str, ...]: ...
