"""What kinds of parts a task is put together from, and how their words become a request.

Whether the parts fit together shows while they are drawn: what does not fit raises `Infeasible`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tir_gym.envs.assistant.speech import tidy
from tir_gym.envs.files.acts import ACTS, ASKABLE, Act
from tir_gym.envs.files.draft import Draft
from tir_gym.envs.files.questions import QUESTIONS
from tir_gym.envs.files.refusals import REFUSALS, no_tool


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
        self._append(name, self._say("first", "next", command=command, Command=command[0].upper() + command[1:]))

    def _say(self, first: str, next: str, **parts: str) -> str:
        return self._draft.say(next if self.parts else first, **parts)

    def _append(self, name: str, sentence: str) -> None:
        self.parts.append(name)
        self._sentences.append(tidy(sentence))


@dataclass(frozen=True)
class Plan:
    """A kind of task."""

    name: str
    share: float
    """Of all tasks drawn, about."""
    fill: Callable[[Draft, Request], None]


def _acts(d: Draft, request: Request) -> None:
    for act in _some(d, (0, 20, 45, 35)):
        request.add(act)


def _question(d: Draft, request: Request) -> None:
    for act in _some(d, (40, 35, 25)):
        request.add(act)
    request.add_question()


def _gap(d: Draft, request: Request) -> None:
    for act in _some(d, (25, 40, 35)):
        request.add(act)
    request.add_with_gap(d.rng.choice(ASKABLE))


def _refusal(d: Draft, request: Request) -> None:
    request.add(d.rng.choice(REFUSALS))


def _no_tool(d: Draft, request: Request) -> None:
    request.add(no_tool)


def _some(d: Draft, weights: tuple[int, ...]) -> list[Act]:
    """Acts, each once; as many as the position of the weight that is drawn."""
    count = d.rng.choices(range(len(weights)), weights)[0]
    acts = dict.fromkeys(d.rng.sample(ACTS, len(ACTS)))
    return list(acts)[:count]


PLANS: tuple[Plan, ...] = (
    Plan("acts", 0.46, _acts),
    Plan("question", 0.32, _question),
    Plan("gap", 0.13, _gap),
    Plan("refusal", 0.07, _refusal),
    Plan("no tool", 0.02, _no_tool),
)
