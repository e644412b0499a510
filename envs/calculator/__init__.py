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
    "You are a careful cashier. Use the tools for every operation. "
    "End with the last tool's result, unrounded, inside <answer></answer>."
)

# The test split has wordings and lengths of its own, so no test task is a train task in other words.
WORDINGS = {
    "train": {
        "line": "{} items at {} each",
        "subtract": "with a discount of {} taken off",
        "divide": "split between {} people",
    },
    "test": {
        "line": "{} tickets for {} apiece",
        "subtract": "less a voucher worth {}",
        "divide": "shared equally by {} friends",
    },
}
LINES = {"train": (2, 4), "test": (3,)}


class CalculatorEnv(ToolEnv):
    """Bills: quantities at prices, added up, then reduced or shared."""

    env_id = "tir_gym/Calculator-v0"

    def make_task(self, split: Split, number: int) -> Task:
        rng = random.Random(f"calculator/{split}/{number}")
        wordings = WORDINGS[split]
        # All numbers of a request differ, so that none is right in two places and guessing stays poor.
        length = rng.choice(LINES[split])
        value, *counts = rng.sample(range(2, 20), length + 1)
        lines = list(zip(counts, rng.sample(range(20, 1000), length), strict=True))
        last = rng.choice(("subtract", "divide"))
        words = [*(wordings["line"].format(*line) for line in lines), wordings[last].format(value)]

        calls = [GoldCall(name="multiply", arguments={"a": count, "b": price}) for count, price in lines]
        so_far = result_of(0)
        for position in range(1, len(lines)):
            calls.append(GoldCall(name="add", arguments={"a": so_far, "b": result_of(position)}))
            so_far = result_of(len(calls) - 1)
        calls.append(GoldCall(name=last, arguments={"a": so_far, "b": value}))
        result = TOOLS[last](sum(multiply(*line) for line in lines), value)

        task = Task(
            id=f"{split}/{number}",
            messages=(
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": f"{', '.join(words)}. What is the result?"},
            ),
            tools=TOOLS.specs,
            gold=GoldTrace(
                calls=tuple(calls),
                checks=(AnswerCheck(type="number", value=result, sources=(Ref(call=len(calls) - 1),)),),
                reply=f"The result is <answer>{result}</answer>.",
            ),
            tags=(f"calls-{len(calls)}", last),
        )
        return verified(task, self.make_sandbox(task))

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, World({}), datetime.fromisoformat(task.now))


def result_of(call: int) -> dict[str, Any]:
    """A reference to all that the gold call with this number gives back."""
    return {"$ref": {"call": call, "path": []}}
