"""Tasks without end: a chain of steps or a function drawn, run in a jail, and verified.

Which split a chain belongs to is decided by what its steps do (`draft.split_of`), and its words and files come from
that split's own lists; functions have their own lists, too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.code.draft import Draft
from tir_gym.envs.code.functions import EXAMPLES, Function, draw_function
from tir_gym.envs.code.numbers import number_task
from tir_gym.envs.code.tables import table_task
from tir_gym.envs.code.tools import LIMITS, SolutionSandbox, task_specs
from tir_gym.envs.code.words import word_task
from tir_gym.envs.writing.draft import Infeasible, UnsoundTask
from tir_gym.gold import verified
from tir_gym.records import AnswerCheck, FigureCheck, GoldCall, GoldTrace, Ref, Task, ToolCall
from tir_gym.sandboxes.jail import JailSandbox

FIGURE = "hidden_tests"
"""The share of hidden tests that a submitted function passes."""

_CHAIN_SYSTEM = """\
You work in a Python notebook: the tool runs code in the folder with the user's files, and variables stay from call to \
call. There is no network.

Do the steps in order, each in a call of its own that prints what the step asks for and nothing else. Then answer with \
the result inside <answer></answer>."""

_FUNCTION_SYSTEM = """\
You write Python. One tool runs code in a notebook, whose variables stay from call to call; the other submits a module \
and shows what its function gives for the examples. What is submitted last is tried by tests that you do not see. \
There is no network. When the function is submitted, say so."""

_DRAWS = 200
"""Drafts after which the search for one that fits is given up."""

_CHAINS: tuple[tuple[float, Callable[[Draft], None]], ...] = (
    (0.50, table_task),
    (0.22, word_task),
    (0.28, number_task),
)
_FUNCTIONS = 0.12
"""Share of functions to write among all tasks."""

_FEWEST_STEPS = 2


def make_task(split: Split, number: int) -> Task:
    """The task of that number, its gold verified by execution.

    Raises:
        UnsoundTask: No draft fits, or a step fails: a bug of the generator.
        UsageError: The gold trace has a fault, likewise.
        SandboxUnavailable: This host has no jail.
    """
    rng = random.Random(f"code/{split}/{number}")
    id = f"{split}/{number}"
    return _function_task(id, split, rng) if rng.random() < _FUNCTIONS else _chain_task(id, split, rng)


def make_sandbox(state: Mapping[str, Any]) -> JailSandbox:
    """A jail with the task's files, in which nothing has run yet."""
    files, function = state.get("files", {}), state.get("function")
    if function is None:
        return JailSandbox(limits=LIMITS, files=files)
    return SolutionSandbox(files=files, name=function["name"], examples=function["examples"])


def _chain_task(id: str, split: Split, rng: random.Random) -> Task:
    fill = rng.choices([fill for _, fill in _CHAINS], [share for share, _ in _CHAINS])[0]
    for _ in range(_DRAWS):
        with Draft(split, rng) as draft:
            try:
                fill(draft)
            except Infeasible:
                continue
            if len(draft.steps) >= _FEWEST_STEPS:
                task = _chain_record(id, draft, fill.__name__)
                return verified(task, draft.emptied())
    raise UnsoundTask(f"task {id}: none of {_DRAWS} drafts fits")


def _chain_record(id: str, draft: Draft, kind: str) -> Task:
    last = len(draft.steps) - 1
    text = draft.steps[-1].printed.strip()
    value: Any = _number(text)
    answer = AnswerCheck(
        type="text" if value is None else "number", value=text if value is None else value, sources=(Ref(call=last),)
    )
    steps = [f"{n}. {step.words}" for n, step in enumerate(draft.steps, 1)]
    return Task(
        id=id,
        messages=(
            {"role": "system", "content": _CHAIN_SYSTEM},
            {"role": "user", "content": "\n".join([draft.intro, "", *steps, "", draft.say("answer")])},
        ),
        tools=task_specs(solution=False),
        state={"files": draft.files},
        gold=GoldTrace(
            calls=tuple(GoldCall(name="python", arguments={"code": step.code}) for step in draft.steps),
            after=tuple((n, n + 1) for n in range(last)),
            checks=(answer,),
            reply=f"The result is <answer>{text}</answer>.",
        ),
        tags=(kind, f"calls-{last + 1}"),
    )


def _number(text: str) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _function_task(id: str, split: Split, rng: random.Random) -> Task:
    function = draw_function(split, rng)
    outputs = _results(function)
    shown, expected = function.inputs[:EXAMPLES], outputs[:EXAMPLES]
    tests = [
        {"input": arguments, "output": output}
        for arguments, output in zip(function.inputs[EXAMPLES:], outputs[EXAMPLES:], strict=True)
    ]
    draft = Draft(split, rng)
    asked = draft.say("function", name=function.name, words=function.words)
    called = ", ".join(f"{function.name}({', '.join(map(json.dumps, arguments))})" for arguments in shown)
    examples = draft.say("examples", inputs=called, outputs=", ".join(map(json.dumps, expected)))
    trial = (
        f"{function.code}\nimport json\nfor arguments in {shown!r}:\n    print(json.dumps({function.name}(*arguments)))"
    )
    task = Task(
        id=id,
        messages=(
            {"role": "system", "content": _FUNCTION_SYSTEM},
            {"role": "user", "content": f"{asked}\n\n{examples}"},
        ),
        tools=task_specs(solution=True),
        state={"files": {}, "function": {"name": function.name, "examples": shown, "tests": tests}},
        gold=GoldTrace(
            calls=(
                GoldCall(name="python", arguments={"code": trial}),
                GoldCall(name="submit_solution", arguments={"code": function.code}),
            ),
            after=((0, 1),),
            checks=(FigureCheck(figure=FIGURE),),
            reply="I have submitted it.",
        ),
        tags=("function_task", "calls-2"),
    )
    with make_sandbox(task.state) as sandbox:
        return verified(task, sandbox)


def _results(function: Function) -> list[Any]:
    """What the reference gives for each input, run in a jail like everybody's code.

    Raises:
        UnsoundTask: It fails.
    """
    code = (
        f"{function.code}\nimport json\n"
        f"print(json.dumps([{function.name}(*arguments) for arguments in {function.inputs!r}]))"
    )
    with JailSandbox(limits=LIMITS) as sandbox:
        result = sandbox.call(ToolCall("python", {"code": code}))
    if not result.ok:
        raise UnsoundTask(f"{function.name} fails: {result.error}")
    found: list[Any] = json.loads(str(result.content))
    return found
