"""What kinds of parts a task is put together from, and how their words become a request.

Whether the parts fit together shows while they are drawn: what does not fit raises `Infeasible`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tir_gym.envs.assistant.acts import ACTS, ASKABLE, FRESH_ACTS, Act
from tir_gym.envs.assistant.draft import Draft
from tir_gym.envs.assistant.items import QUESTIONS
from tir_gym.envs.assistant.refusals import REFUSALS, no_tool
from tir_gym.envs.assistant.sessions import OPENINGS, close_account, log_out, register, switch_user
from tir_gym.envs.assistant.speech import tidy


class Request:
    """The words of a request, part by part."""

    def __init__(self, draft: Draft) -> None:
        self.parts: list[str] = []
        """Names of what was added."""
        self._draft = draft
        self._sentences: list[str] = []

    @property
    def text(self) -> str:
        return " ".join(self._sentences)

    def add(self, act: Act) -> None:
        """Make the calls of an act and ask for it."""
        self._command(act.__name__, act(self._draft))

    def add_with_gap(self, act: Callable[[Draft, bool], str]) -> None:
        """Likewise, leaving a value out."""
        self._command(f"{act.__name__}?", act(self._draft, True))

    def add_question(self) -> None:
        """Ask for a fact, the last thing in a request."""
        fact = self._draft.rng.choice(QUESTIONS)
        item = fact(self._draft)
        self._draft.answer = item.check()
        self._append(fact.__name__, self._say("only_question", "last_question", item=item.words))

    def _command(self, name: str, command: str) -> None:
        words = self._say("first", "next", command=command, Command=command[0].upper() + command[1:])
        self._append(name, *self._draft.preface, words)
        self._draft.preface.clear()

    def _say(self, first: str, next: str, **parts: str) -> str:
        return self._draft.say(next if self.parts else first, **parts)

    def _append(self, name: str, *sentences: str) -> None:
        self.parts.append(name)
        self._sentences += map(tidy, sentences)
        self._draft.introduced = len(self._draft.people)


@dataclass(frozen=True)
class Plan:
    """A kind of task."""

    name: str
    share: float
    """Of all tasks drawn, about."""
    fill: Callable[[Draft, Request], None]
    logged_in: bool = True
    """Whether somebody is logged in at the beginning."""


def _acts(d: Draft, request: Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choices((1, 2, 3, 4), (30, 35, 25, 10))[0]):
        request.add(act)


def _question(d: Draft, request: Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choices((0, 1, 2), (50, 30, 20))[0]):
        request.add(act)
    request.add_question()


def _gap(d: Draft, request: Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choices((0, 1, 2), (30, 40, 30))[0]):
        request.add(act)
    request.add_with_gap(d.rng.choice(ASKABLE))


def _refusal(d: Draft, request: Request) -> None:
    request.add(d.rng.choice(REFUSALS))


def _no_tool(d: Draft, request: Request) -> None:
    request.add(no_tool)


def _session(d: Draft, request: Request) -> None:
    opening = d.rng.choice(OPENINGS)
    request.add(opening)
    acts = FRESH_ACTS if opening is register else ACTS
    for act in d.rng.sample(acts, d.rng.choice((1, 1, 2))):
        request.add(act)
    if d.rng.random() < 0.3:
        request.add(log_out)


def _leaving(d: Draft, request: Request) -> None:
    for act in d.rng.sample(ACTS, d.rng.choice((1, 2))):
        request.add(act)
    ending = d.rng.choice((log_out, close_account, switch_user))
    request.add(ending)
    if ending is switch_user:
        request.add(d.rng.choice(ACTS))


PLANS: tuple[Plan, ...] = (
    Plan("acts", 0.38, _acts),
    Plan("question", 0.24, _question),
    Plan("gap", 0.14, _gap),
    Plan("refusal", 0.07, _refusal),
    Plan("no tool", 0.02, _no_tool),
    Plan("session", 0.09, _session, logged_in=False),
    Plan("leaving", 0.06, _leaving),
)
