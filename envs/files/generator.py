"""Tasks without end: a project and a plan drawn and filled, the gold checked by running it.

The splits share no project, no layout, no word that a task asks for, and no wording; what is to be done is of the same
kinds in both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.files.draft import Draft
from tir_gym.envs.files.plans import PLANS
from tir_gym.envs.files.project import Project, make_project
from tir_gym.envs.files.questions import QUESTIONS
from tir_gym.envs.files.tools import TOOLKIT
from tir_gym.envs.writing.draft import Infeasible, UnsoundTask
from tir_gym.envs.writing.request import Plan, Request
from tir_gym.gold import verified
from tir_gym.records import ScriptedUser, Task
from tir_gym.sandboxes.shell import ShellSandbox

MOST_CALLS = 12
"""Gold calls of a task."""

MOST_CALLS_WITH_COMMAND = 5
"""Gold calls of a task with a command: to verify it, the command is run about as often."""

COMPARATORS = {"files.text": "lines"}
"""White space at the ends of lines and files does not count."""

_DRAWS = 500
"""Drafts after which the search for one that fits is given up."""

_SYSTEM = """\
You work on the files of the project {name}, with tools for files, settings and tables, and with a shell.

- Paths are relative to the working folder, where the project is. Its folders: {folders}.
- Do all of what is asked, in the order in which it is asked, and nothing else: no other file may change. What a \
command needs for itself belongs into $TMPDIR, which is emptied before every command.
- What stands in quotation marks is taken as it stands. Upper and lower case differ.
- If a detail is missing that only the user can know, ask for it in one question that ends with a question mark.
- If the request cannot be done, change nothing and answer with a message that begins with CANNOT:
- When all is done, say so. If something was asked, give the bare answer inside <answer></answer>: a number in digits, \
a time as HH:MM, a date as YYYY-MM-DD, files by their paths from the working folder, several things separated by \
commas, a text word for word."""


class ProjectSandbox(ShellSandbox):
    """A shell with the tools of this family. An emptied folder that stays, or goes, is no difference."""

    def diff(self) -> dict[str, Any]:
        rows = super().diff().get("files", {})
        kept = {path: row for path, row in rows.items() if "folder" not in (_kind(row["before"]), _kind(row["after"]))}
        return {"files": kept} if kept else {}


def make_task(split: Split, number: int) -> Task:
    """The task of that number, its gold verified by execution.

    Raises:
        UnsoundTask: No draft fits, or a gold call is refused: a bug of the generator.
        UsageError: Likewise, the gold trace having a fault.
        SandboxUnavailable: It has a command in it, and there is no jail here.
    """
    rng = random.Random(f"files/{split}/{number}")
    plan = rng.choices(PLANS, [plan.share for plan in PLANS])[0]
    project = make_project(split, rng)
    with closing(make_sandbox(project.files)) as sandbox, sandbox.holding():
        start = sandbox.snapshot()
        for _ in range(_DRAWS):
            draft = Draft(split, project, rng, sandbox)
            request = Request(draft, QUESTIONS)
            try:
                plan.fill(draft, request)
                task = _task(f"{split}/{number}", number, plan, draft, request) if _suits(draft, request) else None
            except Infeasible:
                task = None
            finally:
                sandbox.restore(start)
            if task is not None:
                return verified(task, sandbox)
    raise UnsoundTask(f"task {split}/{number} ({plan.name}): none of {_DRAWS} drafts fits")


def make_sandbox(files: Mapping[str, Any]) -> ProjectSandbox:
    """A sandbox with the tools of this family and those files."""
    return ProjectSandbox(files=files, toolkit=TOOLKIT)


def _suits(draft: Draft, request: Request[Draft]) -> bool:
    """Whether a draft is no longer than allowed, and its answer neither told by the request nor a mere nothing."""
    commands = any(call.name == "run" for call in draft.calls)
    if len(draft.calls) > (MOST_CALLS_WITH_COMMAND if commands else MOST_CALLS):
        return False
    if draft.answer is None:
        return True
    value = draft.answer.value
    parts = value if isinstance(value, list) else [value]
    told = any(re.search(rf"(?<!\w){re.escape(str(part))}(?!\w)", request.text) for part in parts)
    return bool(parts) and value != 0 and not told


def _task(id: str, seed: int, plan: Plan[Draft], draft: Draft, request: Request[Draft]) -> Task:
    return Task(
        id=id,
        messages=(
            {"role": "system", "content": _system_prompt(draft.project)},
            {"role": "user", "content": request.text},
        ),
        tools=TOOLKIT.specs,
        state={"files": draft.project.files},
        seed=seed,
        gold=draft.gold(COMPARATORS),
        user=ScriptedUser(replies=tuple(draft.replies)),
        tags=(plan.name, *request.parts, f"calls-{len(draft.calls)}"),
    )


def _system_prompt(project: Project) -> str:
    folders = sorted({path.partition("/")[0] for path in project.files if "/" in path})
    return _SYSTEM.format(name=project.name, folders=", ".join(folders))


def _kind(record: Mapping[str, Any]) -> Any:
    return record.get("kind")
