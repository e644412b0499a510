"""A task in the making: every gold call is run as it is written down, so a draft knows what an agent would see.

What to call and what to say is decided by a family's parts, which draw from the draft's random numbers. A part that
does not fit raises `Infeasible`, and another is drawn.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tir_gym.env import Split
from tir_gym.envs.writing.speech import tidy
from tir_gym.errors import TirGymError
from tir_gym.records import (
    AnswerCheck,
    AskedCheck,
    Check,
    GoldCall,
    GoldTrace,
    Json,
    Ref,
    RefusedCheck,
    Reply,
    StateCheck,
    ToolCall,
    UnchangedCheck,
)
from tir_gym.sandbox import Sandbox

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Infeasible(Exception):
    """What was drawn does not fit what there is or what the draft holds already; draw again."""


class UnsoundTask(TirGymError):
    """The generator has made a task that is wrong: a bug of its own."""


@dataclass(frozen=True)
class Value:
    """What a gold call takes or an answer states, and where an earlier call found it, if one did."""

    value: Json
    ref: Ref | None = None

    def gold(self) -> Json:
        """As it stands in a gold call's arguments."""
        return self.value if self.ref is None else {"$ref": {"call": self.ref.call, "path": list(self.ref.path)}}


@dataclass(frozen=True)
class Found:
    """The result of a gold call."""

    call: int
    content: Json

    def at(self, *path: str | int) -> Value:
        node = self.content
        for step in path:
            node = node[step]
        return Value(node, Ref(call=self.call, path=path))

    def position(self, key: str, field: str, value: Json) -> int:
        """Where the one record with that field stands in the list under `key`.

        Raises:
            Infeasible: There is no such record, or more than one.
        """
        places = [i for i, record in enumerate(self.content[key]) if record[field] == value]
        if len(places) != 1:
            raise Infeasible(f"{len(places)} records with {field}={value!r}")
        return places[0]


class TaskDraft(ABC):
    """Gold calls, words and checks so far.

    Args:
        split: Whose wordings are used.
        rng: Source of every choice.
        sandbox: In the task's initial state; the gold calls are run in it.
        readers: Names of the tools that only look.
    """

    def __init__(self, split: Split, rng: random.Random, sandbox: Sandbox, readers: frozenset[str]) -> None:
        self.split = split
        self.rng = rng
        self.calls: list[GoldCall] = []
        self.after: list[tuple[int, int]] = []
        self.stage = 0
        self.replies: list[Reply] = []
        self.answer: AnswerCheck | None = None
        self.because: tuple[Ref, ...] | None = None
        """Set for a task that must be refused: the results that show why."""
        self.comparators: dict[str, str] = {}
        """How fields of the final state are compared in this task alone."""
        self.preface: list[str] = []
        """Sentences that stand before the one that is being made."""
        self._readers = readers
        self._sandbox = sandbox
        self._before = sandbox.fork()
        self._made: dict[str, Found] = {}
        self._taken: set[tuple[str, Hashable]] = set()

    @property
    @abstractmethod
    def writes(self) -> bool:
        """Whether the gold calls change something."""

    @abstractmethod
    def wordings(self, key: str) -> Sequence[str]:
        """The split's wordings for a key."""

    def part_ended(self) -> None:
        """Called when a part of the request has its words."""
        self.preface.clear()

    # Gold calls.

    def call(self, tool: str, /, **arguments: Any) -> Found:
        """Make a gold call that can be made in one way; see `call_in_a_way`."""
        return self.call_in_a_way(tool, (), **arguments)

    def call_in_a_way(self, tool: str, instead: Iterable[Mapping[str, Any]], /, **arguments: Any) -> Found:
        """Make a gold call, or give the result of the same look-up made before.

        Args:
            tool: Its name.
            instead: Arguments that may be others, each set of them as good as the first.
            arguments: JSON values, `Value`s, or lists of either.

        Raises:
            Infeasible: An earlier part of the task has changed what the look-up shows, so that what is asked for would
                depend on the order in which the parts are done.
            UnsoundTask: The tool refuses.
        """
        gold = {name: _gold(value) for name, value in arguments.items()}
        call = ToolCall(tool, {name: _plain(value) for name, value in arguments.items()})
        reads = tool in self._readers
        result = self._sandbox.call(call)
        if not result.ok:
            raise UnsoundTask(f"gold call {tool}({call.arguments}) fails: {result.error}")
        if reads and self._before.call(call) != result:
            raise Infeasible(f"{tool} after a change of what it shows")
        key = self._key(tool, gold)
        if key in self._made:
            return self._made[key]
        number = len(self.calls)
        others = tuple(GoldCall(name=tool, arguments={**gold, **other}) for other in instead)
        self.calls.append(GoldCall(name=tool, arguments=gold, stage=self.stage, alternatives=others))
        self.after += [(earlier, number) for earlier in self._follows(call)]
        found = Found(number, result.content)
        if reads:
            self._made[key] = found
        return found

    def made(self, tool: str, **arguments: Any) -> Found | None:
        """What a look-up gave that was made before, if it was, whatever has become of it since."""
        return self._made.get(self._key(tool, {name: _gold(value) for name, value in arguments.items()}))

    def ask(self, slot: str, phrases: tuple[str, ...], reply: str) -> None:
        """From here on nothing can be called before the user was asked for that value.

        Args:
            slot: What is missing.
            phrases: A question asks for it when it holds one of these; the first one names it.
            reply: What the user says then.
        """
        self.replies.append(Reply(text=tidy(reply), slot=slot, phrases=phrases))
        self.stage += 1

    def gold(self, comparators: Mapping[str, str]) -> GoldTrace:
        """The gold trace: the calls, what must hold in the end, and what one who did it right says then.

        Args:
            comparators: How fields of the final state are compared in all tasks of the family.
        """
        checks = tuple(self._checks(comparators))
        return GoldTrace(calls=tuple(self.calls), after=tuple(self.after), checks=checks, reply=self._reply())

    @abstractmethod
    def _follows(self, call: ToolCall) -> Iterable[int]:
        """The gold calls that the one just made must come after."""

    def _key(self, tool: str, gold: Mapping[str, Any]) -> str:
        """By which a look-up is known again."""
        return repr((tool, gold))

    def _checks(self, comparators: Mapping[str, str]) -> Iterator[Check]:
        for reply in self.replies:
            yield AskedCheck(slot=str(reply.slot))
        if self.answer is not None:
            yield self.answer
        if self.because is not None:
            yield RefusedCheck(sources=self.because)
        if self.writes:
            yield StateCheck(comparators={**comparators, **self.comparators})
        else:
            yield UnchangedCheck()

    def _reply(self) -> str:
        if self.because is not None:
            return "CANNOT: " + ("None of my tools can do that." if not self.because else "There is no such thing.")
        if self.answer is None:
            return "Done."
        value = self.answer.value
        return f"Here you are: <answer>{', '.join(value) if isinstance(value, list) else value}</answer>"

    # Words and choices.

    def say(self, key: str, /, **parts: str) -> str:
        """One of the split's wordings for that key, its parts filled in."""
        return self.rng.choice(self.wordings(key)).format(**parts)

    def pick(self, candidates: Iterable[T]) -> T:
        """One of them.

        Raises:
            Infeasible: There are none.
        """
        choice = list(candidates)
        if not choice:
            raise Infeasible("nothing to choose from")
        return self.rng.choice(choice)

    def take(self, kind: str, candidates: Iterable[K]) -> K:
        """One of them that no other part of the task has taken; errors as `pick`."""
        chosen = self.pick(one for one in candidates if (kind, one) not in self._taken)
        self._taken.add((kind, chosen))
        return chosen

    def reserve(self, kind: str, one: Hashable) -> None:
        """Keep other parts of the task from taking it."""
        self._taken.add((kind, one))


def quote(text: str) -> str:
    return f'"{text}"'


def _gold(value: Any) -> Any:
    if isinstance(value, Value):
        return value.gold()
    return [_gold(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, list) else value
