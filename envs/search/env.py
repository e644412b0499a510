"""`tir_gym/Search-v0`: questions over a library, generated or of the user's own, as an environment."""

from __future__ import annotations

import os
from typing import Any

from tir_gym.env import Split, ToolEnv
from tir_gym.envs.search.generator import make_sandbox, make_task
from tir_gym.envs.search.own import OwnQuestions, load
from tir_gym.errors import UsageError
from tir_gym.records import Task
from tir_gym.sandboxes.state import StateSandbox


class SearchEnv(ToolEnv):
    """Questions whose answers must be put together from documents.

    An answer is submitted with the tool `submit`, which writes it into the state that the task checks; then any final
    message ends the episode. One who submits nothing and states the answer in the final message succeeds too, and
    misses only what the gold call `submit` pays. Whoever submits is held to the submission. Where the library does not
    tell, the final message must be a refusal, and the name at which the search ends must have been submitted: so
    refusing everything earns nothing. On files of one's own, nothing is to be submitted then.

    Args:
        corpus: A file of JSON lines, one document each, instead of generated libraries; `own.py` has the format.
        questions: A file of JSON lines with questions on it, one each.
        options: As `ToolEnv` has them.

    Raises:
        UsageError: One of the two files without the other, or a line that cannot be read, named with its fix.
    """

    env_id = "tir_gym/Search-v0"

    def __init__(
        self,
        *,
        corpus: str | os.PathLike[str] | None = None,
        questions: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if (corpus is None) != (questions is None):
            given, lacking = ("corpus", "questions") if questions is None else ("questions", "corpus")
            raise UsageError(f"{given} without {lacking}: give both files of JSON lines, or neither")
        self._own: OwnQuestions | None = None
        if corpus is not None and questions is not None:
            self._own = load(corpus, questions)

    def make_task(self, split: Split, number: int) -> Task:
        return make_task(split, number) if self._own is None else self._own.numbered(split, number)

    def make_sandbox(self, task: Task) -> StateSandbox:
        return make_sandbox(task.state, task.now)

    def task_named(self, name: str) -> Task:
        return super().task_named(name) if self._own is None else self._own.task(name)

    def draw_task(self) -> str:
        if self._own is None:
            return super().draw_task()
        names = self._own.names(self.split)
        return names[int(self.np_random.integers(len(names)))]

    def task_ids(self, n: int | None = None, first: int = 0) -> list[str]:
        if self._own is None:
            return super().task_ids(n, first)
        return self._own.names(self.split)[first : None if n is None else first + n]

    def task_source(self) -> Any:
        return None if self._own is None else self._own.digest
