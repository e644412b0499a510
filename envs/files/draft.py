"""A task in the making: gold calls, run as they are written down, and the words that ask for them."""

from __future__ import annotations

import posixpath
import random
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from tir_gym.env import Split
from tir_gym.envs.assistant.draft import Found, Infeasible, UnsoundTask, Value
from tir_gym.envs.files.project import Project
from tir_gym.envs.files.tools import TOOLKIT
from tir_gym.envs.files.vocabulary import VOCABULARY
from tir_gym.envs.files.wordings import wordings
from tir_gym.records import AnswerCheck, GoldCall, Ref, Reply, ToolCall
from tir_gym.sandboxes.shell import ShellSandbox

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_PATHS = ("path", "folder", "source", "destination", "sources")
"""Arguments that name places in the tree."""


class Draft:
    """Gold calls, words and checks so far.

    Args:
        split: Whose words are used.
        project: The tree, and what is where in it.
        rng: Source of every choice.
        sandbox: In the task's initial state; the gold calls are run in it.
    """

    def __init__(self, split: Split, project: Project, rng: random.Random, sandbox: ShellSandbox) -> None:
        self.split = split
        self.project = project
        self.rng = rng
        self.words = VOCABULARY[split]
        self.sandbox = sandbox
        self.calls: list[GoldCall] = []
        self.after: list[tuple[int, int]] = []
        self.stage = 0
        self.replies: list[Reply] = []
        self.answer: AnswerCheck | None = None
        self.because: tuple[Ref, ...] | None = None
        """Set for a task that must be refused: the results that show why."""
        self._before = sandbox.fork()
        self._made: dict[str, Found] = {}
        self._places: list[tuple[set[str], bool]] = []
        """For each gold call, the places that it names, and whether it only looks."""
        self._taken: set[tuple[str, Hashable]] = set()

    # Gold calls.

    def call(self, tool: str, /, *, instead: Iterable[Mapping[str, Any]] = (), **arguments: Any) -> Found:
        """Make a gold call, or give the result of the same look-up made before.

        It comes after all earlier calls with which it shares a file, unless all of them only look.

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
        reads = TOOLKIT[tool].spec.effect == "read"
        result = self.sandbox.call(call)
        if not result.ok:
            raise UnsoundTask(f"gold call {tool}({call.arguments}) fails: {result.error}")
        if reads and self._before.call(call) != result:
            raise Infeasible(f"{tool} after a change of what it shows")
        key = repr((tool, gold))
        if key in self._made:
            return self._made[key]
        number = len(self.calls)
        others = tuple(GoldCall(name=tool, arguments={**gold, **other}) for other in instead)
        self.calls.append(GoldCall(name=tool, arguments=gold, stage=self.stage, alternatives=others))
        places = set(_places_of(call))
        self.after += [
            (earlier, number)
            for earlier, (theirs, looks) in enumerate(self._places)
            if not (reads and looks) and any(_overlap(a, b) for a in places for b in theirs)
        ]
        self._places.append((places, reads))
        found = Found(number, result.content)
        if reads:
            self._made[key] = found
        return found

    def ask(self, slot: str, phrases: tuple[str, ...], reply: str) -> None:
        """From here on nothing can be called before the user was asked for that value.

        Args:
            slot: What is missing.
            phrases: A question asks for it when it holds one of these; the first one names it.
            reply: What the user says then.
        """
        self.replies.append(Reply(text=reply, slot=slot, phrases=phrases))
        self.stage += 1

    @property
    def writes(self) -> bool:
        """Whether the gold calls have changed something."""
        return bool(self.sandbox.diff())

    # Words.

    def say(self, wording: str, /, **parts: str) -> str:
        """One of the split's wordings for that key, its parts filled in."""
        return self.rng.choice(wordings(wording, self.split)).format(**parts)

    # What there is.

    def text(self, path: str) -> str:
        """The text of a file, as the project was made."""
        content = self.project.files[path]
        return str(content if isinstance(content, str) else content["text"])

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

    def claim(self, *paths: str) -> None:
        """Keep these files from all other parts of the task.

        Raises:
            Infeasible: Another part has one of them.
        """
        for path in paths:
            self.take("path", [path])

    def ticket(self) -> str:
        """A ticket that no file mentions."""
        return self.take("ticket", self.project.free_tickets)


def quote(text: str) -> str:
    return f'"{text}"'


def _places_of(call: ToolCall) -> Iterator[str]:
    if call.name == "run":
        yield ""  # a script may read and write anything
    for name in _PATHS:
        value = call.arguments.get(name)
        for place in value if isinstance(value, list) else [value]:
            if isinstance(place, str):
                yield "" if place == "." else posixpath.normpath(place)


def _overlap(a: str, b: str) -> bool:
    """Whether one place is the other, or in it."""
    return not a or not b or a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/")


def _gold(value: Any) -> Any:
    if isinstance(value, Value):
        return value.gold()
    return [_gold(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return value.value
    return [_plain(item) for item in value] if isinstance(value, list) else value
