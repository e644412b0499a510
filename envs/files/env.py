"""`tir_gym/Files-v0`: generated tasks on generated project trees, as an environment."""

from __future__ import annotations

from tir_gym.env import Split, ToolEnv
from tir_gym.envs.files.generator import ProjectSandbox, make_sandbox, make_task
from tir_gym.records import Task


class FilesEnv(ToolEnv):
    """A project tree with 18 tools: files, settings, tables, and a shell in a jail."""

    env_id = "tir_gym/Files-v0"

    def make_task(self, split: Split, number: int) -> Task:
        return make_task(split, number)

    def make_sandbox(self, task: Task) -> ProjectSandbox:
        return make_sandbox(task.state["files"])
