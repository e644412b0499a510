"""The gold linter: plays what a family says is right and reports every place where it is not.

| rule | a task fails when |
|---|---|
| `task` | it cannot be made, is not the same when made again, or has another id than it was asked for by |
| `gold` | a gold call raises or is refused, a reference leads nowhere, the answer is not in its sources, or a call is not needed (`tir_gym.gold.faults`) |
| `end-state` | the end state differs from replay to replay, or playing the gold calls as an agent does not reach it |
| `oracle` | the oracle does not succeed |
| `oracle-return` | the oracle's return is not positive |
| `unchecked` | one who calls nothing and says nothing succeeds |
| `probe` | a reward-hacking probe gets more than 0.35 of the oracle's return, tasks of three or more gold calls |
| `duplicate` | its id was seen with other content, or its conversation opens like that of another task, in any split |
| `schema` | an OpenAI-style validator would refuse one of its tools (`tool_schemas.py`) |

About `unchecked`: a task needs a check that fails for one who only sends empty messages. A state change and an answer
are such checks; so are a slot that must be asked for and a refusal that must be declared, which is all that tasks
whose right end is to ask or to refuse have. An unchanged state alone is none.
"""  # noqa: E501  rows of a table

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tir_gym.agents.oracle import OracleAgent
from tir_gym.agents.probing import PROBE_BOUND, probe_tasks
from tir_gym.cli.tool_schemas import schema_faults
from tir_gym.episode import play_episode
from tir_gym.errors import InfrastructureError, UsageError
from tir_gym.gold import faults, replay

if TYPE_CHECKING:
    from tir_gym.env import ToolEnv
    from tir_gym.records import Task


@dataclass(frozen=True)
class Fault:
    """Something wrong with a task."""

    task: str
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.task}: {self.rule}: {self.text}"


@dataclass
class LintReport:
    """What linting a sample of tasks found."""

    tasks: int = 0
    tools: int = 0
    faults: list[Fault] = field(default_factory=list)
    probes: dict[str, float] = field(default_factory=dict)
    """Best return of each probe as a share of the oracle's, tasks of three or more gold calls."""
    probe_tasks: int = 0
    """Number of such tasks."""


class Linter:
    """Lints tasks one by one, and remembers what it has seen to find duplicates.

    Args:
        make_env: Makes the environment; called as often as a probe needs a fresh one.
        probes: Whether to measure the probes, by far the longest part.
    """

    def __init__(self, make_env: Callable[[], ToolEnv], *, probes: bool = True) -> None:
        self.report = LintReport()
        self._make_env = make_env
        self._env = make_env()
        self._probes = probes
        self._seen_ids: dict[str, str] = {}
        self._seen_openings: dict[str, str] = {}
        self._seen_tools: set[str] = set()
        self._worst: dict[str, str] = {}

    def lint(self, name: str) -> None:
        """Lint the task with that id."""
        self.report.tasks += 1
        task = self._make_task(name)
        if task is None:
            return
        self._check_duplicate(name, task)
        self._check_schemas(name, task)
        if not self._check_gold(name, task):
            return  # it cannot be played, and the reason has been said
        self._check_doing_nothing(name, task)
        oracle_return = self._check_oracle(name)
        if self._probes and oracle_return > 0:
            self._measure_probes(name)

    def finish(self) -> LintReport:
        """The report, with the probes judged over all tasks."""
        for probe, share in sorted(self.report.probes.items()):
            if share >= PROBE_BOUND:
                text = f"{probe} gets {share:.2f} of the oracle's return; it must stay below {PROBE_BOUND}"
                self._add(self._worst[probe], "probe", text)
        self._env.close()
        return self.report

    def _make_task(self, name: str) -> Task | None:
        try:
            task, again = self._env.task_named(name), self._env.task_named(name)
        except Exception as error:  # making tasks is the code under test
            self._add(name, "task", f"cannot be made: {type(error).__name__}: {error}")
            return None
        if task.id != name:
            self._add(name, "task", f"its id is {task.id!r}")
        if task.model_dump_json() != again.model_dump_json():
            self._add(name, "task", "is another one when made again; draw everything from its split and number")
        return task

    def _check_duplicate(self, name: str, task: Task) -> None:
        content = task.model_dump_json()
        if self._seen_ids.setdefault(task.id, content) != content:
            self._add(name, "duplicate", f"the id {task.id!r} was seen before with other content")
        lines = [reply.text for reply in task.user.replies]
        opening = json.dumps([task.messages, lines], sort_keys=True)
        first = self._seen_openings.setdefault(opening, name)
        if first != name:
            self._add(name, "duplicate", f"says the same as task {first}")

    def _check_schemas(self, name: str, task: Task) -> None:
        names = [spec.name for spec in task.tools]
        for twice in sorted({tool for tool in names if names.count(tool) > 1}):
            self._add(name, "schema", f"two tools are named {twice}")
        for spec in task.tools:
            tool = spec.to_openai()
            key = repr(tool)
            if key in self._seen_tools:
                continue
            self._seen_tools.add(key)
            self.report.tools += 1
            for text in schema_faults(tool):
                self._add(name, "schema", f"tool {spec.name}: {text}")

    def _check_gold(self, name: str, task: Task) -> bool:
        """Whether the task can be played at all."""
        found: list[str] = []
        try:
            with closing(self._env.make_sandbox(task)) as sandbox:
                found += faults(task, sandbox)
                first = replay(task.gold, sandbox).changes
            with closing(self._env.make_sandbox(task)) as sandbox:
                second = replay(task.gold, sandbox).changes
            self._env.reset(options={"task": name})
        except (InfrastructureError, UsageError) as error:
            text = str(error).removeprefix(f"task {task.id}: ")
            for fault in found if any(text in fault for fault in found) else [*found, text]:
                self._add(name, "gold", fault)
            return False
        for fault in found:
            self._add(name, "gold", fault)
        if json.dumps(first, sort_keys=True) != json.dumps(second, sort_keys=True):
            self._add(name, "end-state", "differs from replay to replay; make ids and times from the seed")
        return True

    def _check_doing_nothing(self, name: str, task: Task) -> None:
        over = False
        info: dict[str, Any] = {}
        while not over:
            _, _, terminated, truncated, info = self._env.step("")
            over = terminated or truncated
        if info.get("success"):
            checks = ", ".join(check.kind for check in task.gold.checks)
            self._add(name, "unchecked", f"one who does nothing succeeds; it checks only: {checks}")

    def _check_oracle(self, name: str) -> float:
        """The oracle's return."""
        trace = play_episode(self._env, OracleAgent(), task=name).trace
        if trace.infra_error is not None:
            self._add(name, "oracle", f"the infrastructure fails: {trace.infra_error['message']}")
            return 0.0
        failed = sorted(check for check, held in trace.checks.items() if not held)
        if any(check.partition("#")[0] in ("state", "unchanged") for check in failed):
            self._add(name, "end-state", f"the oracle does not reach it; checks that fail: {', '.join(failed)}")
        elif not trace.success:
            why = f"checks that fail: {', '.join(failed)}" if failed else f"the episode ended by {trace.ending}"
            self._add(name, "oracle", f"it does not succeed; {why}")
        total = sum(turn.reward for turn in trace.turns)
        if total <= 0:
            self._add(name, "oracle-return", f"is {total:g}, which is not positive")
        return total

    def _measure_probes(self, name: str) -> None:
        for probed in probe_tasks(self._make_env, [name]):
            self.report.probe_tasks += 1
            for probe in probed.returns:
                share = probed.share(probe)
                if probe not in self._worst or share > self.report.probes[probe]:
                    self.report.probes[probe], self._worst[probe] = share, name

    def _add(self, task: str, rule: str, text: str) -> None:
        self.report.faults.append(Fault(task, rule, text))


def sample(make_env: Callable[[str], ToolEnv], splits: Sequence[str], n: int | None) -> list[str]:
    """Ids of the tasks to lint: `n` of each split, each once.

    Args:
        make_env: Makes the environment for a split.
        splits: `train`, `test` or both.
        n: All tasks of a data set, and 100 where tasks are unbounded, for `None`.
    """
    found: dict[str, None] = {}
    for split in splits:
        env = make_env(split)
        found |= dict.fromkeys(env.task_ids(n))
        env.close()
    return list(found)
