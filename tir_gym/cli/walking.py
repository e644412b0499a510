"""An episode walked turn by turn, for people: what was called, what came back, and why it was paid as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tir_gym.cli.printing import number

if TYPE_CHECKING:
    from tir_gym.records import ToolCall, ToolResult, Trace, Turn
    from tir_gym.rescore import Explained
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
    value: float | None = None
    """Value of the best assignment of all calls so far, where it is known."""
    hindsight: float | None = None
    """The turn's credit in hindsight, where the episode has one."""


def walk(trace: Trace, explained: Explained | None = None) -> list[WalkedTurn]:
    """Walk an episode.

    Args:
        trace: The episode.
        explained: How each turn was paid; without it, the trace's own final matching serves.
    """
    matches: Sequence[Match] = () if explained is None else explained.matches
    walked = []
    for i, turn in enumerate(trace.turns):
        known = explained is not None and i < len(matches)
        gold = explained.golds.get(matches[i].trace, ()) if explained is not None and known else ()
        one = walk_turn(turn, i, matches[i] if known else trace, gold=gold)
        hindsight = trace.turn_rewards[i] if i < len(trace.turn_rewards) else None
        walked.append(replace(one, value=matches[i].value if known else None, hindsight=hindsight))
    return walked


def walk_turn(turn: Turn, number: int, paid: Match | Trace, *, gold: Sequence[ToolCall] = ()) -> WalkedTurn:
    """Walk one turn.

    Args:
        turn: The turn.
        number: Its index.
        paid: What says how its calls were matched.
        gold: The gold calls, to say what a wrong or missing argument should have been; not for the eyes of a player.
    """
    reasons = _reasons(paid, number, gold)
    calls = []
    for i, (call, result) in enumerate(zip(turn.calls, turn.results, strict=True)):
        score, why = reasons[i] if i < len(reasons) else (None, "")
        calls.append(WalkedCall(call_text(call), _result_text(result), result.ok, why, score))
    return WalkedTurn(
        number=number,
        text=turn.text,
        calls=tuple(calls),
        malformed=turn.malformed,
        replies=tuple(str(message.get("content")) for message in turn.observation if message.get("role") == "user"),
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
    return [*lines, f"  {paid_text(turn)}"]


def paid_text(turn: WalkedTurn) -> str:
    """What the turn was paid, in a line."""
    return f"reward {signed(turn.reward)}  ({turn.parts}{_beside(turn)})"


def call_text(call: ToolCall) -> str:
    """A call on one line."""
    return f"{call.name}({', '.join(f'{name}={_json(value)}' for name, value in call.arguments.items())})"


def signed(value: float) -> str:
    text = number(value)
    return text if text.startswith("-") else f"+{text}"


def _reasons(paid: Match | Trace, turn: int, gold: Sequence[ToolCall]) -> list[tuple[float | None, str]]:
    """For each call of the turn: the score of its match, and why it was paid as it was."""
    if hasattr(paid, "matches"):
        return [
            (None if found.gold is None else found.score, _matched(found.gold, found.score))
            for found in paid.matches
            if found.turn == turn
        ]
    return [
        (None if entry["gold"] is None else entry["score"], _matched(entry["gold"], entry["score"], entry, gold))
        for entry in paid.calls
        if entry["turn"] == turn
    ]


def _matched(
    number_of_gold: int | None, score: float, entry: dict[str, Any] | None = None, gold: Sequence[ToolCall] = ()
) -> str:
    entry = entry or {}
    if number_of_gold is None:
        return "failed, and matches no gold call" if entry.get("status") == "failed" else "matches no gold call"
    # What another way of doing the step should have been given is not in the gold call.
    known = number_of_gold < len(gold) and entry.get("way") == 0
    wanted = gold[number_of_gold].arguments if known else {}
    details = [f"{what}: {_named(entry[what], wanted)}" for what in ("wrong", "missing", "extra") if entry.get(what)]
    return "; ".join([f"matches gold call {number_of_gold + 1}, score {number(score)}", *details])


def _named(arguments: Sequence[str], wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} (should be {_json(wanted[name])})" if name in wanted else name for name in arguments)


def _beside(turn: WalkedTurn) -> str:
    value = "" if turn.value is None else f"; best assignment so far {number(turn.value)}"
    return value if turn.hindsight is None else f"{value}; in hindsight {signed(turn.hindsight)}"


def _result_text(result: ToolResult) -> str:
    if result.error is not None:
        return result.error
    return result.content if isinstance(result.content, str) else _json(result.content)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
