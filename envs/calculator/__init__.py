"""Arithmetic with tools: the smallest complete environment. `docs/new-environment.md` builds it line by line."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

from tir_gym.env import Split, ToolEnv
from tir_gym.errors import ToolError
from tir_gym.gold import verified
from tir_gym.records import AnswerCheck, GoldCall, GoldTrace, Ref, Task
from tir_gym.sandboxes.state import StateSandbox, World
from tir_gym.tool import Toolkit, tool


@tool
def add(a: float, b: float) -> float:
    """Add two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return a + b


@tool
def subtract(a: float, b: float) -> float:
    """Subtract b from a.

    Args:
        a: Number to subtract from.
        b: Number to subtract.
    """
    return a - b


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers.

    Args:
        a: First number.
        b: Second number.
    """
    return a * b


@tool
def divide(a: float, b: float) -> float:
    """Divide a by b.

    Args:
        a: Number to divide.
        b: Number to divide by, other than 0.
    """
    if b == 0:
        raise ToolError("division by zero; choose another b")
    return a / b


TOOLS = Toolkit([add, subtract, multiply, divide])

SYSTEM = (
    "You are a careful calculator. Use the tools for every operation, one step at a time. "
    "End with the last tool's result, unrounded, inside <answer></answer>."
)

# The test split has wordings and lengths of its own, so no test task is a train task in other words.
WORDINGS = {
    "add": {"train": "add {} to it", "test": "increase that by {}"},
    "subtract": {"train": "subtract {} from it", "test": "take {} away from that"},
    "multiply": {"train": "multiply it by {}", "test": "scale that by a factor of {}"},
    "divide": {"train": "divide it by {}", "test": "split that into {} equal parts"},
}
LENGTHS = {"train": (2, 4), "test": (3, 5)}


class CalculatorEnv(ToolEnv):
    """Chains of two to five operations, each on the result of the one before."""

    env_id = "tir_gym/Calculator-v0"

    def make_task(self, split: Split, number: int) -> Task:
        rng = random.Random(f"calculator/{split}/{number}")
        start = rng.randint(2, 999)
        words, calls = [f"Start with {start}"], []
        before: Any = start
        result = float(start)
        for position in range(rng.choice(LENGTHS[split])):
            name, value = rng.choice(sorted(WORDINGS)), rng.randint(2, 999)
            words.append(WORDINGS[name][split].format(value))
            calls.append(GoldCall(name=name, arguments={"a": before, "b": value}))
            before = {"$ref": {"call": position, "path": []}}
            result = TOOLS[name](result, value)
        task = Task(
            id=f"{split}/{number}",
            messages=(
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": ", then ".join(words) + ". What is the result?"},
            ),
            tools=TOOLS.specs,
            gold=GoldTrace(
                calls=tuple(calls),
                checks=(AnswerCheck(type="number", value=result, sources=(Ref(call=len(calls) - 1),)),),
                reply=f"The result is <answer>{result}</answer>.",
            ),
            tags=(f"chain-{len(calls)}",),
        )
        return verified(task, self.make_sandbox(task))

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, World({}), datetime.fromisoformat(task.now))
