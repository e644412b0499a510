"""An episode as its page shows it: every message, every call with its part in the matching, every term of every reward.

Data for templates and for the picture, nothing of how it looks. What is explained comes from `tir_gym.rescore.explain`
as in reports; where that cannot be had, the final matching as recorded serves, and `unexplained` says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tir_gym.cli.walking import WalkedTurn, walk
from tir_gym.dialects.dialect import thoughts_of
from tir_gym.errors import TirGymError
from tir_gym.records import Task, ToolCall, Trace, Turn
from tir_gym.replay_trace import elsewhere, env_of
from tir_gym.rescore import Explained, explain
from tir_gym.rewards import Match

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>(.*?)(?:</\1>|\Z)", re.DOTALL)
"""Also of traces that others made: our dialects leave `<think>` out of a turn's text."""


@dataclass(frozen=True)
class ShownArgument:
    """An argument of a call."""

    name: str
    value: str
    """As JSON."""
    state: str = ""
    """`right`, `wrong`, `missing`, `extra`, or nothing where the call is compared with no gold call."""
    should: str | None = None
    """What the gold call has, as JSON, where it is wrong or missing and known."""


@dataclass(frozen=True)
class ShownCall:
    """A call of the agent."""

    turn: int
    call: int
    """Position in its turn."""
    name: str
    arguments: tuple[ShownArgument, ...]
    result: str
    error: str | None
    error_kind: str | None
    effect: str
    """Of its tool: `read`, `write`, `irreversible`, or nothing for an unknown tool."""
    status: str
    """When its turn was over: `matched`, `redundant`, `failed`, or nothing where no matching is known."""
    gold: int | None
    score: float | None
    why: str
    in_the_end: str
    """What became of it later, where that is another thing."""

    @property
    def anchor(self) -> str:
        return f"call-{self.turn + 1}-{self.call + 1}"


@dataclass(frozen=True)
class ShownTurn:
    """A turn."""

    number: int
    thoughts: tuple[str, ...]
    text: str
    calls: tuple[ShownCall, ...]
    malformed: tuple[str, ...]
    replies: tuple[str, ...]
    reward: float
    parts: Mapping[str, float]
    value: float | None
    """Value of the best assignment of all calls so far."""
    hindsight: float | None
    seconds: float | None


@dataclass(frozen=True)
class ShownGold:
    """A gold call, and who was paid for it in the end."""

    number: int
    name: str
    arguments: tuple[tuple[str, str], ...]
    """Name and value as JSON."""
    after: tuple[int, ...]
    """Gold calls that must come before it."""
    others: int
    """How many other calls do this step as well."""


@dataclass(frozen=True)
class Step:
    """The matching as it stood after a turn, for the picture."""

    turn: int
    calls: tuple[tuple[int, int, str], ...]
    """Turn, position and status of each call so far."""
    pairs: tuple[tuple[int, int, float], ...]
    """Index into `calls`, gold call, score."""
    value: float | None
    trace: int


@dataclass(frozen=True)
class ShownEpisode:
    """An episode, ready for its page."""

    trace: Trace
    turns: tuple[ShownTurn, ...]
    golds: Mapping[int, tuple[ShownGold, ...]]
    """The gold trace's calls by alternative, 0 the main one; empty where the gold cannot be had here."""
    steps: tuple[Step, ...]
    """The matching after each turn; the last one alone where turns are not explained."""
    unexplained: str
    """Why the turns are not explained; empty where they are."""

    @property
    def last(self) -> Step:
        return self.steps[-1]


def show_episode(trace: Trace, seconds: Sequence[float | None] = (), *, asked: bool = False) -> ShownEpisode:
    """Put an episode together.

    Args:
        trace: The episode.
        seconds: Wall-clock seconds of each turn.
        asked: Whether to make its environment even with options of its own, see `doubtful`.
    """
    explained, golds, reason = _explained(trace, [0.0 if each is None else each for each in seconds], asked)
    walked = walk(trace, explained)
    effects = {tool.name: tool.effect for tool in trace.tools}
    matches = () if explained is None else explained.matches
    final = {(match.turn, match.call): (match.gold, match.score) for match in trace.matches}
    turns = tuple(
        _turn(
            trace,
            turn,
            walked[i],
            matches[i] if i < len(matches) else None,
            {} if explained is None else explained.golds,
            effects,
            final,
            seconds[i] if i < len(seconds) else None,
        )
        for i, turn in enumerate(trace.turns)
    )
    steps = tuple(_step(i, match) for i, match in enumerate(matches)) or (_recorded(trace),)
    return ShownEpisode(trace, turns, golds, steps, reason)


def thoughts_and_words(turn: Turn) -> tuple[tuple[str, ...], str]:
    """What the agent thought, and what it said without it."""
    thoughts = list(thoughts_of(turn.action))
    thoughts += [found for _, each in _THOUGHT.findall(turn.text) if (found := each.strip()) and found not in thoughts]
    return tuple(thoughts), _THOUGHT.sub("", turn.text).strip()


def as_json(value: Any) -> str:
    """A value of a trace as people read it."""
    return json.dumps(value, ensure_ascii=False)


def result_text(result: Any) -> str:
    """What a call gave back, as text."""
    if result is None:
        return ""
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=1)


def doubtful(trace: Trace) -> str:
    """Why the environment of an episode is not made unasked, where its options may cost or run more than a page should.

    A trace is data from anywhere: its options can name files, hold a whole task whose gold is code, or ask for a world
    without end. Plain small numbers can do none of that.
    """
    for name, value in trace.provenance.env_kwargs.items():
        plain = isinstance(value, str) if name == "task" else name in _PLAIN_OPTIONS or _is_small(value)
        if not plain:
            return f"its environment was made with an option of its own, {name!r}, which a page does not try unasked"
    return ""


def away(trace: Trace) -> str:
    """Why the environment of an episode is not made even where the reader asks for it; empty where it may be."""
    place = elsewhere(trace)
    return f"its environment is elsewhere (option {place!r}), and no page connects to what a trace names" * bool(place)


_PLAIN_OPTIONS = ("split", "dialect", "reward", "max_turns", "render_mode")
_LARGEST = 1000
"""Number up to which an option is taken as it is: a world of so many people is made in half a second."""


def _is_small(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return (
            len(value) <= 4
            and not any(isinstance(each, (list, tuple)) for each in value)
            and all(map(_is_small, value))
        )
    return value is None or (isinstance(value, (int, float)) and abs(value) <= _LARGEST)


def _explained(
    trace: Trace, seconds: Sequence[float], asked: bool
) -> tuple[Explained | None, Mapping[int, tuple[ShownGold, ...]], str]:
    """Why the turns were paid, the gold traces concerned, and why not."""
    doubt = away(trace) or ("" if asked else doubtful(trace))
    if doubt:
        return None, {}, doubt
    try:
        env = env_of(trace)
        try:
            found = explain(trace, env, turn_seconds=seconds)
            given, task = trace.provenance.env_kwargs.get("task"), trace.provenance.task_id
            whole = isinstance(given, dict) and given.get("id") == task
            sides = () if found is None else env.prepare(Task.model_validate(given) if whole else task).sides
        finally:
            env.close()
    except (TirGymError, ValueError) as error:
        return None, {}, str(error)
    except Exception as error:  # a trace is data from strangers, and its page must open whatever stands in it
        return None, {}, f"{type(error).__name__}: {error}"
    if found is None:
        return None, {}, "its turns are paid otherwise by this version of the environment"
    golds = {
        number: tuple(
            ShownGold(
                i,
                call.name,
                tuple((name, as_json(value)) for name, value in call.arguments.items()),
                tuple(sorted(sides[number].gold.after[i])),
                len(sides[number].gold.others[i]),
            )
            for i, call in enumerate(calls)
        )
        for number, calls in found.golds.items()
    }
    return found, golds, ""


def _turn(
    trace: Trace,
    turn: Turn,
    walked: WalkedTurn,
    match: Match | None,
    golds: Mapping[int, tuple[ToolCall, ...]],
    effects: Mapping[str, str],
    final: Mapping[tuple[int, int], tuple[int | None, float]],
    seconds: float | None,
) -> ShownTurn:
    entries = [] if match is None else [entry for entry in match.calls if entry["turn"] == walked.number]
    wanted = () if match is None else golds.get(match.trace, ())
    thoughts, text = thoughts_and_words(turn)
    calls = []
    for i, (call, result) in enumerate(zip(turn.calls, turn.results, strict=True)):
        entry = entries[i] if i < len(entries) else None
        gold, score = final.get((walked.number, i), (None, 0.0))
        now = walked.calls[i]
        if entry is None:
            status = "" if not trace.matches else "matched" if gold is not None else "redundant" if now.ok else "failed"
        else:
            status = entry["status"]
        calls.append(
            ShownCall(
                turn=walked.number,
                call=i,
                name=call.name,
                arguments=_arguments(call, entry, wanted),
                result=result_text(result.content),
                error=result.error,
                error_kind=result.error_kind,
                effect=effects.get(call.name, ""),
                status=status,
                gold=gold if entry is None else entry["gold"],
                score=now.score,
                why=now.why,
                in_the_end=_later(entry, gold, score),
            )
        )
    return ShownTurn(
        number=walked.number,
        thoughts=thoughts,
        text=text,
        calls=tuple(calls),
        malformed=turn.malformed,
        replies=walked.replies,
        reward=turn.reward,
        parts=turn.parts,
        value=walked.value,
        hindsight=walked.hindsight,
        seconds=seconds,
    )


def _arguments(call: ToolCall, entry: Mapping[str, Any] | None, golds: Sequence[ToolCall]) -> tuple[ShownArgument, ...]:
    if entry is None or entry["gold"] is None:
        return tuple(ShownArgument(name, as_json(value)) for name, value in call.arguments.items())
    known = entry["way"] == 0 and entry["gold"] < len(golds)
    wanted = golds[entry["gold"]].arguments if known else {}
    states = {name: state for state in ("right", "wrong", "extra") for name in entry[state]}
    # In the gold call's order, so that the two are read side by side.
    names = [*(name for name in wanted if name in call.arguments), *(n for n in call.arguments if n not in wanted)]
    shown = [
        ShownArgument(
            name,
            as_json(call.arguments[name]),
            states.get(name, ""),
            as_json(wanted[name]) if states.get(name) == "wrong" and name in wanted else None,
        )
        for name in names
    ]
    missing = [
        ShownArgument(name, "", "missing", as_json(wanted[name]) if name in wanted else None)
        for name in entry["missing"]
    ]
    return (*shown, *missing)


def _later(entry: Mapping[str, Any] | None, gold: int | None, score: float) -> str:
    """What the final matching says, where a later call changed what a call was matched with."""
    if entry is None or entry["gold"] == gold:
        return ""
    return "in the end matched with nothing" if gold is None else f"in the end matched with gold call {gold + 1}"


def _step(turn: int, match: Match) -> Step:
    positions: dict[int, int] = {}
    calls = []
    for entry in match.calls:
        position = positions.get(entry["turn"], 0)
        positions[entry["turn"]] = position + 1
        calls.append((entry["turn"], position, entry["status"]))
    return Step(turn, tuple(calls), match.pairs, match.value, match.trace)


def _recorded(trace: Trace) -> Step:
    """The final matching as the trace has it."""
    calls, pairs = [], []
    for i, match in enumerate(trace.matches):
        turn = trace.turns[match.turn] if match.turn < len(trace.turns) else None
        ok = turn is None or match.call >= len(turn.results) or turn.results[match.call].ok
        status = "matched" if match.gold is not None else "redundant" if ok else "failed"
        calls.append((match.turn, match.call, status))
        if match.gold is not None:
            pairs.append((i, match.gold, match.score))
    return Step(max(0, len(trace.turns) - 1), tuple(calls), tuple(pairs), None, 0)
