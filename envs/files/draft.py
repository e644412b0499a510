"""A task in the making on a project's files: what comes after what is decided by the places that calls share."""

from __future__ import annotations

import posixpath
import random
from collections.abc import Iterable, Iterator, Sequence

from tir_gym.env import Split
from tir_gym.envs.files.project import Project
from tir_gym.envs.files.tools import TOOLKIT
from tir_gym.envs.files.vocabulary import VOCABULARY
from tir_gym.envs.files.wordings import WORDINGS
from tir_gym.envs.writing.draft import TaskDraft
from tir_gym.records import ToolCall
from tir_gym.sandboxes.shell import ShellSandbox

_PATHS = ("path", "folder", "source", "destination", "sources")
"""Arguments that name places in the tree."""

_READERS = frozenset(spec.name for spec in TOOLKIT.specs if spec.effect == "read")


class Draft(TaskDraft):
    """Gold calls, words and checks so far.

    Args:
        split: Whose words are used.
        project: The tree, and what is where in it.
        rng: Source of every choice.
        sandbox: In the task's initial state; the gold calls are run in it.
    """

    def __init__(self, split: Split, project: Project, rng: random.Random, sandbox: ShellSandbox) -> None:
        super().__init__(split, rng, sandbox, _READERS)
        self.project = project
        self.words = VOCABULARY[split]
        self.sandbox = sandbox
        self._places: list[tuple[set[str], bool]] = []
        """For each gold call, the places that it names, and whether it only looks."""

    def _follows(self, call: ToolCall) -> Iterable[int]:
        """All earlier calls with which it shares a file, unless all of them only look."""
        places, reads = set(_places_of(call)), call.name in _READERS
        earlier = [
            number
            for number, (theirs, looks) in enumerate(self._places)
            if not (reads and looks) and any(_overlap(a, b) for a in places for b in theirs)
        ]
        self._places.append((places, reads))
        return earlier

    @property
    def writes(self) -> bool:
        return bool(self.sandbox.diff())

    def wordings(self, key: str) -> Sequence[str]:
        return WORDINGS[key][self.split]

    # What there is.

    def text(self, path: str) -> str:
        """The text of a file, as the project was made."""
        content = self.project.files[path]
        return str(content if isinstance(content, str) else content["text"])

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
