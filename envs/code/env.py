"""`tir_gym/Code-v0`: Python in a jail, as an environment."""

from __future__ import annotations

from tir_gym.env import Split, ToolEnv
from tir_gym.envs.code.generator import FIGURE, make_sandbox, make_task
from tir_gym.envs.code.tools import SOLUTION, share_passed
from tir_gym.records import Task, Trace
from tir_gym.sandboxes.jail import JailSandbox


class CodeEnv(ToolEnv):
    """Figures to be found step by step in a Python notebook, and functions to write.

    A call counts as a gold call when its code has the same syntax tree, or when it printed the same (`comparing.py`).
    A chain of steps is done when its last figure is the answer; a function, when it passes the hidden tests, which are
    run in a jail of its own when the episode ends. Their share is the figure `hidden_tests` in `info["metrics"]`.
    """

    env_id = "tir_gym/Code-v0"

    def make_task(self, split: Split, number: int) -> Task:
        return make_task(split, number)

    def make_sandbox(self, task: Task) -> JailSandbox:
        return make_sandbox(task.state)

    def metrics(self, trace: Trace) -> dict[str, float]:
        """The share of hidden tests that were passed, where a function was asked for."""
        function = self.task.state.get("function")
        if function is None:
            return {}
        submitted = self.sandbox.diff().get("files", {}).get(SOLUTION, {}).get("after", {})
        if "text" not in submitted:
            return {FIGURE: 0.0}
        return {FIGURE: share_passed(submitted["text"], function["name"], function["tests"])}
