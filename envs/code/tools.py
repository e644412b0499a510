"""Where the code runs, and the tools: `python` for a notebook, `submit_solution` for a function that was asked for."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tir_gym.envs.code.comparing import CODE, PRINTED
from tir_gym.records import ToolCall, ToolSpec
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.jail import JailSandbox
from tir_gym.sandboxes.outcome import printed
from tir_gym.sandboxes.python import PythonSandbox
from tir_gym.tool import Toolkit, tool

LIMITS = Limits(cpu_seconds=10.0, wall_seconds=30.0, output=64 * 1024)

SOLUTION = "solution.py"

# Calls with a list of inputs, written so that what the function itself prints is not in the way.
_TRY = """\
import contextlib, io, json, os, sys
sys.path.insert(0, os.getcwd())
with contextlib.redirect_stdout(io.StringIO()):
    from solution import {name}
for arguments in json.loads({inputs!r}):
    with contextlib.redirect_stdout(io.StringIO()):
        result = {name}(*arguments)
    print(json.dumps(result))
"""


class SolutionSandbox(JailSandbox):
    """A jail in which a function can be submitted.

    Args:
        files: Initial content of the work folder.
        name: Of the function.
        examples: Arguments with which a submitted function is called at once.
    """

    def __init__(self, *, files: Mapping[str, str], name: str, examples: Sequence[Sequence[Any]]) -> None:
        super().__init__(limits=LIMITS, files=files)
        self.name = name
        self.examples = [list(arguments) for arguments in examples]


@tool(effect="write", comparators={"code": CODE})
def submit_solution(sandbox: SolutionSandbox, code: str) -> str:
    """Submit a module with the function that is asked for, and see what it gives for the examples, one result a line.

    Args:
        code: The whole module. It takes the place of what was submitted before.
    """
    content = {"base64": base64.b64encode(code.encode("utf-8", "replace")).decode()}
    sandbox.request("write", files={SOLUTION: content})
    trial = _TRY.format(name=sandbox.name, inputs=json.dumps(sandbox.examples))
    return printed(sandbox.request("call", code=trial, mode="fresh"), sandbox.limits)


SolutionSandbox.toolkit = Toolkit([*PythonSandbox.toolkit.values(), submit_solution])


def task_specs(*, solution: bool) -> tuple[ToolSpec, ...]:
    """The tools as tasks offer them, their calls known by syntax or by result.

    Args:
        solution: Whether a function can be submitted.
    """
    toolkit = SolutionSandbox.toolkit if solution else JailSandbox.toolkit
    known = {"comparators": {"code": CODE}, "same_result": PRINTED}
    return tuple(spec.model_copy(update=known) for spec in toolkit.specs)


def share_passed(solution: str, name: str, tests: Sequence[Mapping[str, Any]]) -> float:
    """The share of tests that a module passes, in a jail of its own.

    The jail is given the inputs only: whatever the module does there, right results are all that counts.

    Args:
        solution: The module's text.
        name: Of the function.
        tests: Arguments as `input` and what is expected as `output`, both JSON values.

    Raises:
        InfrastructureError: The jail broke.
    """
    trial = _TRY.format(name=name, inputs=json.dumps([test["input"] for test in tests]))
    with JailSandbox(limits=LIMITS, files={SOLUTION: solution}, mode="fresh") as sandbox:
        result = sandbox.call(ToolCall("python", {"code": trial}))
    lines = str(result.content or "").splitlines()
    passed = [line == json.dumps(test["output"]) for line, test in zip(lines, tests, strict=False)]
    return sum(passed) / len(tests)
