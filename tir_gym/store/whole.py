"""Whether a trace hangs together: what its records do not promise by themselves, and some of its readers rely on.

Every trace that an environment records passes. One from elsewhere may have been edited; it can be looked at and
replayed as it is, but neither be paid again nor be learned from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tir_gym.errors import UsageError
from tir_gym.records import Message, Trace, Turn

_KINDS: dict[str, type | tuple[type, ...]] = {
    "role": str,
    "content": (str, list, type(None)),  # a list has parts, such as pictures
    "tool_call_id": str,
    "name": str,
}
"""Fields of messages."""


def demand_whole(trace: Trace) -> None:
    """Refuse a trace whose parts do not fit together.

    Raises:
        UsageError: Where it does not, such as `turns/0/observation/1: a message without role`.
    """
    for fault in _faults(trace):
        raise UsageError(fault)


def _faults(trace: Trace) -> Iterator[str]:
    yield from _of_messages(trace.messages, "messages")
    broken = trace.infra_error is not None  # its last turn has no answers
    for number, turn in enumerate(trace.turns):
        yield from _of_messages(turn.observation, f"turns/{number}/observation")
        if not broken:
            yield from _of_answers(turn, f"turns/{number}")
    if trace.ending is not None and not broken and len(trace.turn_rewards) != len(trace.turns):
        yield f"turn_rewards: {len(trace.turn_rewards)} for {len(trace.turns)} turns"


def _of_answers(turn: Turn, place: str) -> Iterator[str]:
    answers = sum(message["role"] == "tool" and "name" in message for message in turn.observation)
    if answers != len(turn.calls):
        yield f"{place}/observation: {answers} tool messages with a name for {len(turn.calls)} calls"


def _of_messages(messages: Sequence[Message], place: str) -> Iterator[str]:
    for number, message in enumerate(messages):
        if "role" not in message:
            yield f"{place}/{number}: a message without role"
            continue
        for name in ("content", "tool_call_id") if message["role"] == "tool" else ("content",):
            if name not in message and "tool_calls" not in message:
                yield f"{place}/{number}: a message of role {message['role']!r:.80} without {name}"
        for name, kinds in _KINDS.items():
            if name in message and not isinstance(message[name], kinds):
                yield f"{place}/{number}/{name}: {message[name]!r:.80} is no text"
