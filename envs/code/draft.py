"""A task in the making: every step is run in a jail as it is written down, so a draft knows what it prints."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.code.comparing import same_output
from tir_gym.envs.code.tools import LIMITS
from tir_gym.envs.code.wordings import wordings
from tir_gym.envs.writing.draft import Infeasible, UnsoundTask
from tir_gym.records import ToolCall
from tir_gym.sandboxes.jail import JailSandbox


@dataclass(frozen=True)
class Step:
    """Something to do, in one call."""

    words: str
    code: str
    printed: str


@dataclass
class Draft:
    """Files, steps and words so far.

    Args:
        split: Whose wordings are used.
        rng: Source of every choice.
        sandbox: Where the steps are run; `make_room` puts it up once the files are known.
    """

    split: Split
    rng: random.Random
    sandbox: JailSandbox | None = None
    files: dict[str, str] = field(default_factory=dict)
    intro: str = ""
    steps: list[Step] = field(default_factory=list)
    _start: Any = None

    def claim(self, *operations: Callable[..., object]) -> None:
        """See that a chain of operations is one of the split's, before anything is run.

        Raises:
            Infeasible: It is one of the other split.
        """
        if split_of(tuple(operation.__name__ for operation in operations)) != self.split:
            raise Infeasible("a chain of the other split")

    def make_room(self) -> None:
        """Put the files into a jail of their own."""
        self.sandbox = JailSandbox(limits=LIMITS, files=self.files)
        # Asked for something, it takes a slot; so its pictures are kept there, and going back to one costs little.
        self.sandbox.request("ping", changes=False)
        self._start = self.sandbox.snapshot()

    def emptied(self) -> JailSandbox:
        """The jail, as if no step had been run."""
        assert self.sandbox is not None
        self.sandbox.restore(self._start)
        return self.sandbox

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        if self.sandbox is not None:
            self.sandbox.close()

    def say(self, key: str, **parts: object) -> str:
        """One of the split's wordings for that key, its parts filled in."""
        return self.rng.choice(wordings(key, self.split)).format(**parts)

    def step(self, operation: str, code: str, **parts: object) -> str:
        """Add a step.

        Args:
            operation: What it does; also the key of its words.
            code: How.
            parts: Of its words.

        Returns:
            What it printed.

        Raises:
            Infeasible: It prints what says little, or what another step has printed.
            UnsoundTask: It fails.
        """
        assert self.sandbox is not None
        result = self.sandbox.call(ToolCall("python", {"code": code}))
        if not result.ok:
            raise UnsoundTask(f"{operation} fails: {result.error}\n{code}")
        printed = str(result.content)
        # A step is known by what it prints, so that must be its own, and nothing that is printed by chance.
        if not tells(printed) or any(same_output(printed, step.printed) for step in self.steps):
            raise Infeasible(f"{operation} prints {printed!r}")
        self.steps.append(Step(self.say(operation, **parts), code, printed))
        return printed.strip()


def split_of(operations: tuple[str, ...]) -> Split:
    """The split that a chain of operations belongs to: a fourth of them `test`, by a hash of their names."""
    digest = hashlib.blake2b(",".join(operations).encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % 4 == 0 else "train"


def tells(printed: str) -> bool:
    """Whether a text is more than a small number or a short word."""
    text = printed.strip()
    if not re.fullmatch(r"-?[\d.]+", text):
        return len(text) >= 3
    return abs(float(text)) >= 4
