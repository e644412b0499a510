"""`tir_gym/Assistant-v0`: generated tasks in generated worlds, as an environment."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tir_gym.env import Split, ToolEnv
from tir_gym.envs.assistant.generator import make_sandbox, make_task
from tir_gym.envs.assistant.world import LEAST, SMALL, Facts, make_world
from tir_gym.errors import UsageError
from tir_gym.records import Task
from tir_gym.sandboxes.state import StateSandbox


class AssistantEnv(ToolEnv):
    """A personal assistant with 28 tools. Every task has a world of its own, unless `world_size` is given.

    Args:
        world_size: People in the world, at least 7. With it, all tasks of a split share one world of that size, and
            only the request changes from task to task; so a large world costs its memory once.
        options: As `ToolEnv` has them.
    """

    env_id = "tir_gym/Assistant-v0"

    def __init__(self, *, world_size: int | None = None, **options: Any) -> None:
        if world_size is not None and (not isinstance(world_size, int) or world_size < LEAST):
            raise UsageError(f"world_size={world_size!r}: give a whole number of at least {LEAST}")
        self.world_size = world_size
        super().__init__(**options)

    def make_task(self, split: Split, number: int) -> Task:
        if self.world_size is None:
            return make_task(split, number, make_world(split, str(number), SMALL))
        return make_task(split, number, _shared_world(split, self.world_size))

    def make_sandbox(self, task: Task) -> StateSandbox:
        return make_sandbox(task.state, task.now, task.seed)

    def task_source(self) -> int | None:
        return self.world_size


@lru_cache(maxsize=4)
def _shared_world(split: Split, people: int) -> Facts:
    return make_world(split, "shared", people)
