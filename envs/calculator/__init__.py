"""Arithmetic with tools: the smallest complete environment. `docs/new-environment.md` builds it line by line."""

from __future__ import annotations

import operator
import random
from datetime import datetime

from tir_gym.env import Split, ToolEnv
from tir_gym.errors import ToolError
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
        b: Number to divide by.
    """
    if b == 0:
        raise ToolError("division by zero; choose another b")
    return a / b


TOOLS = Toolkit([add, subtract, multiply, divide])

SYSTEM = (
    "You are a careful calculator. Use the tools for every operation, one step at a time. "
    "End with the result inside <answer></answer>."
)

_PHRASES = {
    "add": ("add {} to it", "increase that by {}"),
    "subtract": ("subtract {} from it", "take {} away from that"),
    "multiply": ("multiply it by {}", "scale that by a factor of {}"),
}
_OPERATORS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}


class CalculatorEnv(ToolEnv):
    """Chains of one to five operations, each on the result of the one before."""

    env_id = "tir_gym/Calculator-v0"

    def make_task(self, split: Split, number: int) -> Task:
        rng = random.Random(f"calculator/{split}/{number}")
        # Wordings and lengths are held out, so no test task is a train task in other words.
        wording = 0 if split == "train" else 1
        length = rng.choice((1, 2, 4) if split == "train" else (3, 5))
        result = rng.randint(2, 99)
        words, calls = [f"Start with {result}"], []
        for step in range(length):
            name, value = rng.choice(sorted(_OPERATORS)), rng.randint(2, 99)
            before = {"$ref": {"call": step - 1, "path": []}} if step else result
            calls.append(GoldCall(name=name, arguments={"a": before, "b": value}))
            words.append(_PHRASES[name][wording].format(value))
            result = _OPERATORS[name](result, value)
        return Task(
            id=f"{split}/{number}",
            messages=(
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": ", then ".join(words) + ". What is the result?"},
            ),
            tools=TOOLS.specs,
            gold=GoldTrace(
                calls=tuple(calls),
                checks=(AnswerCheck(type="number", value=result, sources=(Ref(call=length - 1),)),),
                reply=f"The result is <answer>{result}</answer>.",
            ),
            tags=(f"chain-{length}",),
        )

    def make_sandbox(self, task: Task) -> StateSandbox:
        return StateSandbox(TOOLS, World({}), datetime.fromisoformat(task.now))
