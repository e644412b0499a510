"""A task made ready to play: its gold replayed, its tools rendered, a sandbox to fork. Made once, played often."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from tir_gym.checks import Ending, check_name, holds
from tir_gym.compare import comparator
from tir_gym.errors import UsageError
from tir_gym.frozen import freeze
from tir_gym.gold import replay
from tir_gym.oracle import Oracle
from tir_gym.records import FigureCheck, GoldTrace, StateCheck, Task
from tir_gym.rewards.match_term import GoldSide
from tir_gym.sandbox import Sandbox


class PreparedTask:
    """A task and what playing it needs.

    Args:
        task: The task.
        sandbox: Started, in the task's initial state; kept as the one that episodes fork.

    Raises:
        UsageError: The gold trace cannot be replayed, or the task checks nothing.
    """

    def __init__(self, task: Task, sandbox: Sandbox) -> None:
        if not task.gold.checks:
            raise UsageError(f"task {task.id} checks nothing; give its gold trace at least one check")
        self.task = task
        self._root = sandbox
        self._start = sandbox.snapshot()
        comparators = {spec.name: spec.comparators for spec in task.tools}
        results = {spec.name: spec.same_result for spec in task.tools if spec.same_result}
        self.sides = tuple(self._side(trace, comparators, results) for trace in (task.gold, *task.gold.alternatives))
        self.declared = tuple(check for trace in (task.gold, *task.gold.alternatives) for check in trace.checks)
        self.figures = frozenset(check.figure for check in self.declared if isinstance(check, FigureCheck))
        self._check_comparators()
        self.openai_tools = tuple(freeze(spec.to_openai()) for spec in task.tools)
        self.oracle = Oracle(task, self.sides[0].gold)

    def fresh_sandbox(self) -> Sandbox:
        return self._root.fork()

    def stage_start(self, stage: int) -> Any:
        """Snapshot of the sandbox after the gold calls of all stages before that one."""
        starts = self.sides[0].gold.stage_starts
        later = [at for at in starts if at >= stage]
        return starts[min(later)] if later else self.sides[0].gold.end

    def evaluate(
        self,
        *,
        changes: Mapping[str, Any],
        answer: str,
        refused: bool,
        asked: frozenset[str],
        figures: Mapping[str, float] | None = None,
    ) -> dict[str, bool]:
        """Each declared check by name; those of the alternative that has most of them right."""
        ending = Ending(changes, answer, refused, asked, figures or {})
        best: dict[str, bool] = {}
        for side in self.sides:
            checks = side.gold.trace.checks or self.task.gold.checks
            names = _unique([check_name(check) for check in checks])
            found = {
                name: holds(check, ending, side.gold.changes, side.gold.named)
                for name, check in zip(names, checks, strict=True)
            }
            if not best or sum(found.values()) / len(found) > sum(best.values()) / len(best):
                best = found
        return best

    def _check_comparators(self) -> None:
        """A comparator that is not there must not come to light when an agent has played to the end."""
        declared = [(f"tool {spec.name}", spec.comparators) for spec in self.task.tools]
        declared += [(f"tool {s.name}", {"the result": s.same_result}) for s in self.task.tools if s.same_result]
        declared += [("a StateCheck", check.comparators) for check in self.declared if isinstance(check, StateCheck)]
        for where, rules in declared:
            for name in rules.values():
                try:
                    comparator(name)
                except UsageError as error:
                    raise UsageError(f"task {self.task.id}, {where}: {error}") from None

    def _side(
        self, trace: GoldTrace, comparators: Mapping[str, Mapping[str, str]], results: Mapping[str, str]
    ) -> GoldSide:
        try:
            gold = replay(trace, self._root, picture_stages=self.task.teacher_forced)
        except UsageError as error:
            raise UsageError(f"task {self.task.id}: {error}") from None
        finally:
            self._root.restore(self._start)
        return GoldSide(gold, comparators, results)


class _Kept:
    """Prepared tasks by key, the least recently used dropped first; shared by all environments of the process."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: OrderedDict[Hashable, PreparedTask] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tasks

    def get(self, key: Hashable, make: Callable[[], PreparedTask]) -> PreparedTask:
        with self._lock:
            if key in self._tasks:
                self._tasks.move_to_end(key)
                return self._tasks[key]
        made = make()
        with self._lock:
            kept = self._tasks.setdefault(key, made)
            while len(self._tasks) > self._size:
                self._tasks.popitem(last=False)
        return kept


prepared_tasks = _Kept(size=256)


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return found
