"""A family made for tests of the server: a tool that takes its time, and one that counts how often it really ran."""

from __future__ import annotations

import threading
import time
from datetime import datetime

from tir_gym.env import Split, ToolEnv
from tir_gym.records import AnswerCheck, GoldCall, GoldTrace, Task
from tir_gym.sandboxes.state import State, StateSandbox, World
from tir_gym.tool import Toolkit, tool

_RUNS = 0
_COUNTING = threading.Lock()


@tool(effect="write")
def wait(state: State, seconds: float) -> dict[str, int]:
    """Take some time.

    Args:
        seconds: How much.
    """
    global _RUNS
    with _COUNTING:
        _RUNS += 1
        run = _RUNS
    time.sleep(seconds)
    return {"run": run}


TOOLS = Toolkit([wait])


class SlowEnv(ToolEnv):
    """One task: wait for a moment."""

    env_id = "test/Slow-v0"

    def make_task(self, split: Split, number: int) -> Task:
        return Task(
            id=f"{split}/{number}",
            messages=({"role": "user", "content": "Wait a moment, then say <answer>1</answer>."},),
            tools=TOOLS.specs,
            gold=GoldTrace(
                calls=(GoldCall(name="wait", arguments={"seconds": 0}),),
                checks=(AnswerCheck(type="number", value=1),),
                reply="<answer>1</answer>",
            ),
        )

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, World({}), datetime.fromisoformat(task.now))
