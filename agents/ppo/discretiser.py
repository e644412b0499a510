"""An episode with finitely many actions: a tool and a slot, the slots holding the values seen last.

What can be done is numbered: call tool T with the value of slot S, put the value of slot S into the call or the answer
that is being made, send. Slot 0 holds the value seen last, so "what came back just now" is the same action in every
task. What is seen is a vector of fixed length: the tools and values that the request names, in order, the slots, and
how far the episode has come.

It is a reading for small policies, and poor on purpose: of a request only names of tools and values are seen, arguments
that may be left out are left out, and a tool none of whose required arguments fits a value seen cannot be called.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tir_gym.agents.programmed import Move
from tir_gym.agents.sampling import fits
from tir_gym.agents.seen import Scalar, SeenValues
from tir_gym.errors import UsageError
from tir_gym.records import Message, ToolCall

SEND = 0
"""The action that sends the answer as far as it was made; "Done." where nothing was put into it."""

_WORD = re.compile(r"\w+")
_TURNS = 16
"""Turns told apart; later ones look like the last."""
_ARGUMENTS = 4
"""Places of a call told apart, likewise."""
_PER_SLOT = 4


@dataclass
class _Slot:
    """A value seen, and where."""

    value: Scalar
    of_result: bool
    turn: int
    used: bool = False


@dataclass
class _Call:
    """A call that is being made."""

    tool: int
    arguments: dict[str, Scalar]


class Discretiser:
    """One episode at a time: `begin` with its first messages, then `choose` and `hear` by turns.

    With T tools and S slots the actions are: 0 to send; 1 to S to put a slot's value into the call being made, or else
    into the answer; then for each tool, in order, one for each slot as its first required argument, or a single one
    where it requires none.

    Args:
        tools: In OpenAI's form. Those are the tools of the action space; others are never called.
        slots: Values that can be reached, S.
        mentions: Names of tools and values of the request that are seen, M, the last ones.
        answer_values: Values of an answer; it is sent when it has as many, or by the action `SEND` before.

    Raises:
        UsageError: No tools, or a number below 1.
    """

    def __init__(
        self, tools: Sequence[Mapping[str, Any]], *, slots: int = 16, mentions: int = 24, answer_values: int = 1
    ) -> None:
        for name, number in (("slots", slots), ("mentions", mentions), ("answer_values", answer_values)):
            if number < 1:
                raise UsageError(f"{name}={number}: give a whole number of at least 1")
        if not tools:
            raise UsageError("there are no tools to choose from; a discrete view needs an environment that offers some")
        self.slots, self.mentions, self.answer_values = slots, mentions, answer_values
        self.tools = tuple(entry["function"]["name"] for entry in tools)
        self._schemas: list[Mapping[str, Any]] = []  # each one once, however many tools ask for it
        self._required = tuple(self._required_of(entry["function"]) for entry in tools)
        self._starts: list[tuple[int, int | None]] = []  # of the actions after the slots': a tool, and a slot or none
        self._first: list[int] = []  # of each tool's actions
        for tool, required in enumerate(self._required):
            self._first.append(1 + slots + len(self._starts))
            self._starts += [(tool, slot) for slot in range(slots)] if required else [(tool, None)]
        self.n_actions = 1 + slots + len(self._starts)
        self.n_features = (
            mentions * (len(tools) + 1) + slots * _PER_SLOT + _TURNS + len(tools) + 1 + len(tools) + _ARGUMENTS + 1
        )
        self.begin((), self.tools)

    def begin(self, observation: Sequence[Message], offered: Sequence[str]) -> None:
        """A new episode.

        Args:
            observation: Its first messages.
            offered: Names of the tools that it offers; the others' actions are forbidden throughout.
        """
        self._offered = [name in offered for name in self.tools]
        self._held: list[_Slot] = []
        self._mentioned: list[int] = []  # the latest last; a tool's number, or -1 for a value
        self._turn = 0
        self._call: _Call | None = None
        self._answer: list[Scalar] = []
        self._last_tool: int | None = None
        self._failed = False
        self._take_in(observation)

    def hear(self, observation: Sequence[Message]) -> None:
        """What came back for a message that was sent."""
        self._turn += 1
        self._failed = any(_is_error(message) for message in observation)
        self._take_in(observation)

    def choose(self, action: int) -> Move | None:
        """Do as the action says; any of the `n_actions`, the forbidden ones as far as they go.

        Returns:
            Words and calls to send; `None` where a value was put into what is not complete yet.
        """
        if action == SEND:
            return self._sent()
        if action <= self.slots:
            return self._put(self._slot(action - 1))
        tool, number = self._starts[action - 1 - self.slots]
        if self._call is not None:
            return self._sent()  # forbidden: another call is being made, and goes out as it is
        self._call = _Call(tool, {})
        self._answer = []
        return self._sent() if number is None else self._put(self._slot(number))

    def mask(self) -> NDArray[np.bool_]:
        """`[n_actions]`: which actions give a message that fits the tools' schemas. One always does."""
        allowed = np.zeros(self.n_actions, dtype=np.bool_)
        values = slice(1, 1 + self.slots)
        if self._call is not None:
            argument = self._open_argument(self._call)
            assert argument is not None  # a complete call has been sent
            allowed[values] = self._fitting[self._required[self._call.tool][argument]]
            return allowed
        allowed[SEND] = True
        allowed[1 : 1 + len(self._held)] = True
        possible = [any(row) for row in self._fitting.tolist()]
        for tool, required in enumerate(self._required):
            schemas = list(required.values())
            if self._offered[tool] and all(possible[schema] for schema in schemas):
                first = self._first[tool]
                if schemas:
                    allowed[first : first + self.slots] = self._fitting[schemas[0]]
                else:
                    allowed[first] = True
        return allowed

    def features(self) -> NDArray[np.float32]:
        """`[n_features]`, each in [0, 1].

        In order: for each of M mentions, the last first, one of T tools or a value; for each of S slots whether it is
        filled, by a result, in the last turn, used in a call already; one of 16 turns; the tool called last, and
        whether it failed; the tool of the call being made, the place of its next argument, and the share of the answer
        that has been said.
        """
        tools = len(self.tools)
        mentions = np.zeros((self.mentions, tools + 1), dtype=np.float32)
        for i, tool in enumerate(reversed(self._mentioned[-self.mentions :])):
            mentions[i, tool] = 1.0  # a value's -1 is the last column
        slots = np.zeros((self.slots, _PER_SLOT), dtype=np.float32)
        for i, slot in enumerate(self._held):
            slots[i] = (1.0, slot.of_result, slot.turn == self._turn, slot.used)
        turn = _one_hot(_TURNS, self._turn)
        last = _one_hot(tools, self._last_tool)
        call = _one_hot(tools, None if self._call is None else self._call.tool)
        place = _one_hot(_ARGUMENTS, None if self._call is None else len(self._call.arguments))
        rest = np.array([self._failed, len(self._answer) / self.answer_values], dtype=np.float32)
        return np.concatenate([mentions.ravel(), slots.ravel(), turn, last, rest[:1], call, place, rest[1:]])

    def _put(self, slot: _Slot | None) -> Move | None:
        if slot is None:  # forbidden: there is nothing in the slot
            return self._sent()
        if self._call is None:
            self._answer.append(slot.value)
            return self._sent() if len(self._answer) >= self.answer_values else None
        argument = self._open_argument(self._call)
        assert argument is not None
        self._call.arguments[argument] = slot.value
        slot.used = True
        return self._sent() if self._open_argument(self._call) is None else None

    def _sent(self) -> Move:
        call, self._call = self._call, None
        if call is not None:
            self._last_tool = call.tool
            return "", (ToolCall(self.tools[call.tool], call.arguments),)
        words, self._answer = ", ".join(map(str, self._answer)), []
        return words or "Done.", ()

    def _open_argument(self, call: _Call) -> str | None:
        """The first required argument without a value."""
        return next((name for name in self._required[call.tool] if name not in call.arguments), None)

    def _required_of(self, function: Mapping[str, Any]) -> dict[str, int]:
        """What a tool must be given, in the order in which it declares it, and the number of each one's schema."""
        schema = function.get("parameters") or {}
        numbers: dict[str, int] = {}
        for name, part in schema.get("properties", {}).items():
            if name in schema.get("required", ()):
                if part not in self._schemas:
                    self._schemas.append(part)
                numbers[name] = self._schemas.index(part)
        return numbers

    def _slot(self, number: int) -> _Slot | None:
        return self._held[number] if number < len(self._held) else None

    def _take_in(self, messages: Sequence[Message]) -> None:
        for message in messages:
            seen = SeenValues()
            seen.add([] if _is_error(message) else [message])
            of_result = message.get("role") == "tool"
            text = str(message.get("content") or "")
            for value in sorted(seen, key=lambda value: text.rfind(str(value))):
                known = next((slot for slot in self._held if _same(slot.value, value)), None)
                if known is not None:
                    self._held.remove(known)
                else:
                    known = _Slot(value, of_result, self._turn)
                known.turn = self._turn
                self._held.insert(0, known)
            if message.get("role") == "user":
                self._mentioned += _mentioned(text, self.tools, seen)
        del self._held[self.slots :]
        self._fitting = np.zeros((len(self._schemas), self.slots), dtype=np.bool_)
        for i, schema in enumerate(self._schemas):
            self._fitting[i, : len(self._held)] = [fits(schema, slot.value) for slot in self._held]


def _mentioned(text: str, tools: Sequence[str], seen: SeenValues) -> Iterator[int]:
    values = {str(value) for value in seen}
    for word in _WORD.findall(text):
        if word in tools:
            yield tools.index(word)
        elif word in values:
            yield -1


def _is_error(message: Message) -> bool:
    return message.get("role") == "tool" and str(message.get("content") or "").startswith('{"error"')


def _same(a: Scalar, b: Scalar) -> bool:
    return type(a) is type(b) and a == b


def _one_hot(size: int, index: int | None) -> NDArray[np.float32]:
    row = np.zeros(size, dtype=np.float32)
    if index is not None:
        row[min(index, size - 1)] = 1.0
    return row
