"""An episode walked turn by turn, for people: what was called, what came back, and why it was paid as it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import number

if TYPE_CHECKING:
    from tir_gym.records import ToolCall, ToolResult, Trace, Turn
    from tir_gym.rewards import Match


@dataclass(frozen=True)
class WalkedCall:
    """A call, its result, and its part in the matching when its turn was over."""

    call: str
    """`name(argument=value, ...)`."""
    result: str
    ok: bool
    why: str
    """In words: matched or not, with which gold call, and which arguments were right or wrong."""
    score: float | None
    """Of its match, 1 when all of it is right; `None` where it matches nothing."""


@dataclass(frozen=True)
class WalkedTurn:
    """One message and what came of it."""

    number: int
    text: str
    calls: tuple[WalkedCall, ...]
    malformed: tuple[str, ...]
    replies: tuple[str, ...]
    """What the user said to it."""
    reward: float
    parts: str
    """The reward's terms, such as `match +1, redundant -0.05`."""


def walk(trace: Trace, matches: Sequence[Match] = ()) -> list[WalkedTurn]:
    """Walk an episode.

    Args:
        trace: The episode.
        matches: How each turn was paid, as a replay tells; without them, the trace's own final matching serves.
    """
    return [walk_turn(trace.turns[i], i, matches[i] if i < len(matches) else trace) for i in range(len(trace.turns))]


def walk_turn(turn: Turn, number: int, paid: Match | Trace) -> WalkedTurn:
    """Walk one turn.

    Args:
        turn: The turn.
        number: Its index.
        paid: What says how its calls were matched.
    """
    reasons = _reasons(paid, number)
    calls = []
    for i, (call, result) in enumerate(zip(turn.calls, turn.results, strict=True)):
        score, why = reasons[i] if i < len(reasons) else (None, "")
        calls.append(WalkedCall(call_text(call), _result_text(result), result.ok, why, score))
    return WalkedTurn(
        number=number,
        text=turn.text,
        calls=tuple(calls),
        malformed=turn.malformed,
        replies=tuple(str(message.get("content")) for message in turn.observation if message["role"] == "user"),
        reward=turn.reward,
        parts=", ".join(f"{name} {signed(value)}" for name, value in turn.parts.items()) or "nothing",
    )


def lines_of(turn: WalkedTurn, *, answers: bool = True) -> list[str]:
    """A walked turn as lines for a terminal.

    Args:
        turn: The turn.
        answers: Whether to show what came back, too.
    """
    lines = [f"turn {turn.number + 1}: {turn.text}".rstrip(": ")]
    for call in turn.calls:
        lines.append(f"  {call.call}")
        if answers:
            lines.append(f"    {'gave' if call.ok else 'failed:'} {call.result}")
        lines.append(f"    {call.why}")
    lines += [f"  could not be read: {reason}" for reason in turn.malformed]
    lines += [f"  [user] {reply}" for reply in turn.replies if answers]
    return [*lines, f"  reward {signed(turn.reward)}  ({turn.parts})"]


def call_text(call: ToolCall) -> str:
    """A call on one line."""
    return f"{call.name}({', '.join(f'{name}={_json(value)}' for name, value in call.arguments.items())})"


def signed(value: float) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+{text}"


def _reasons(paid: Match | Trace, turn: int) -> list[tuple[float | None, str]]:
    """For each call of the turn: the score of its match, and why it was paid as it was."""
    if hasattr(paid, "matches"):
        return [
            (None if found.gold is None else found.score, _matched(found.gold, found.score))
            for found in paid.matches
            if found.turn == turn
        ]
    return [
        (None if entry["gold"] is None else entry["score"], _matched(entry["gold"], entry["score"], entry))
        for entry in paid.calls
        if entry["turn"] == turn
    ]


def _matched(gold: int | None, score: float, entry: dict[str, Any] | None = None) -> str:
    entry = entry or {}
    if gold is None:
        return "failed, and matches no gold call" if entry.get("status") == "failed" else "matches no gold call"
    details = [f"{what}: {', '.join(entry[what])}" for what in ("wrong", "missing", "extra") if entry.get(what)]
    return "; ".join([f"matches gold call {gold + 1}, score {number(score)}", *details])


def _result_text(result: ToolResult) -> str:
    if result.error is not None:
        return result.error
    return result.content if isinstance(result.content, str) else _json(result.content)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
