"""How the words of a task's parts become a request. Whether the parts fit together shows while they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tir_gym.envs.writing.draft import TaskDraft
from tir_gym.envs.writing.speech import tidy
from tir_gym.records import AnswerCheck

D = TypeVar("D", bound=TaskDraft)


class Item(Protocol):
    """A fact that can be asked for."""

    @property
    def words(self) -> str: ...

    def check(self) -> AnswerCheck: ...


class Request(Generic[D]):
    """The words of a request, part by part.

    Args:
        draft: Whose gold calls the parts make, and whose wordings they use.
        questions: What can be asked.
    """

    def __init__(self, draft: D, questions: Sequence[Callable[[D], Item]]) -> None:
        self.parts: list[str] = []
        """Names of what was added."""
        self._draft = draft
        self._questions = questions
        self._sentences: list[str] = []

    @property
    def text(self) -> str:
        return " ".join(self._sentences)

    def add(self, act: Callable[[D], str]) -> None:
        """Make the calls of an act and ask for it."""
        self._command(act.__name__, act(self._draft))

    def add_with_gap(self, act: Callable[[D, bool], str]) -> None:
        """Likewise, leaving a value out."""
        self._command(f"{act.__name__}?", act(self._draft, True))

    def add_question(self) -> None:
        """Ask for a fact, the last thing in a request."""
        fact = self._draft.rng.choice(self._questions)
        item = fact(self._draft)
        self._draft.answer = item.check()
        self._append(fact.__name__, self._say("only_question", "last_question", item=item.words))

    def _command(self, name: str, command: str) -> None:
        words = self._say("first", "next", command=command, Command=command[0].upper() + command[1:])
        self._append(name, *self._draft.preface, words)

    def _say(self, first: str, next: str, **parts: str) -> str:
        return self._draft.say(next if self.parts else first, **parts)

    def _append(self, name: str, *sentences: str) -> None:
        self.parts.append(name)
        self._sentences += map(tidy, sentences)
        self._draft.part_ended()


@dataclass(frozen=True)
class Plan(Generic[D]):
    """A kind of task."""

    name: str
    share: float
    """Of all tasks drawn, about."""
    fill: Callable[[D, Request[D]], None]
    logged_in: bool = True
    """Whether somebody is logged in at the beginning, where one can be."""
