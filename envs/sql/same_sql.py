"""When do two statements say the same? When they give the same: text is no measure of SQL.

Both are run on the task's own database, in a sandbox, and on siblings that have the same names and other facts, so
that neither a constant nor luck passes for a query (the idea of test suites for text-to-SQL, Zhong et al. 2020). A
comparator sees nothing but the two texts; so a gold statement ends with a comment that names its database.

| comparator | a statement equals the gold statement when |
|---|---|
| `sql-rows` | it returns the gold rows in any order, up to three more columns aside |
| `sql-effect` | it changes the database in the same way, generated ids aside |
"""

from __future__ import annotations

import itertools
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

from tir_gym.checks import same_changes
from tir_gym.compare import register_comparator, token
from tir_gym.envs.sql.database import NOW, Name, make_database
from tir_gym.errors import InfrastructureError
from tir_gym.records import ToolCall
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.sql import SqlSandbox

ROWS, EFFECT = "sql-rows", "sql-effect"
EXTRA_COLUMNS = 3
LARGE = 20_000
"""Rows; in larger databases few counts are the same by chance, so one sibling is enough."""
KEPT = 8
"""Databases that stay at hand."""
LIMITS = Limits(wall_seconds=10.0, cpu_seconds=5.0)

_STAMP = re.compile(r" -- (\w+) (\S+) (\d+)\s*\Z")
_VARIANTS = (0, 1, 2, 3)
"""The task's own database and its siblings: counts are small, and one sibling alone often has the same ones."""

Outcome: TypeAlias = "dict[str, Any] | None"


def stamped(sql: str, name: Name) -> str:
    """The statement with the comment that says on which database it is right."""
    return f"{sql} -- {name}"


def same_rows(predicted: Any, gold: Any) -> bool:
    """Comparator `sql-rows`."""
    return _same(predicted, gold, "query", _equal_rows)


def same_effect(predicted: Any, gold: Any) -> bool:
    """Comparator `sql-effect`."""
    return _same(predicted, gold, "execute", _equal_effects)


def _same(predicted: Any, gold: Any, tool: str, equal: Callable[[Any, Any], bool]) -> bool:
    if not isinstance(predicted, str) or not isinstance(gold, str):
        return False
    stamp = _STAMP.search(gold)
    if predicted == gold or stamp is None:
        return predicted == gold
    if _plain(predicted) == _plain(gold[: stamp.start()]):
        return True
    for variant in _VARIANTS if int(stamp[3]) <= LARGE else _VARIANTS[:2]:
        name = Name(stamp[1], stamp[2], int(stamp[3]), variant)
        wanted = _outcome(name, tool, gold)
        # Where the gold statement does nothing by itself, as on rows that an earlier one makes, only its text tells.
        if wanted is None or (variant == 0 and not (wanted.get("rows") or wanted.get("changes"))):
            return False
        found = _outcome(name, tool, predicted)
        if found is None or not equal(found, wanted):
            return False
    return True


def _plain(sql: str) -> str:
    return sql.strip().rstrip(";").strip()


def _equal_rows(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    ours, gold = found["rows"], wanted["rows"]
    width, gold_width = len(found["columns"]), len(wanted["columns"])
    if found["truncated"] or len(ours) != len(gold) or not gold_width <= width <= gold_width + EXTRA_COLUMNS:
        return False
    columns = [Counter(token(row[i]) for row in ours) for i in range(width)]
    choices = []
    for j in range(gold_width):
        column = Counter(token(row[j]) for row in gold)
        choices.append([i for i in range(width) if columns[i] == column])
    rows = Counter(tuple(map(token, row)) for row in gold)
    return any(
        len(set(chosen)) == gold_width and Counter(tuple(token(row[i]) for i in chosen) for row in ours) == rows
        for chosen in itertools.islice(itertools.product(*choices), 1000)
    )


def _equal_effects(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return same_changes(found["changes"], wanted["changes"])


class _Outcomes:
    """What statements did, the least recently asked for dropped first."""

    def __init__(self) -> None:
        self._sandboxes: OrderedDict[Name, SqlSandbox] = OrderedDict()
        self._known: OrderedDict[tuple[Name, str, str], Outcome] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, name: Name, tool: str, sql: str) -> Outcome:
        with self._lock:
            key = (name, tool, sql)
            if key not in self._known:
                self._known[key] = self._run(name, tool, sql)
                while len(self._known) > 512:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def _run(self, name: Name, tool: str, sql: str) -> Outcome:
        try:
            if name not in self._sandboxes:
                self._sandboxes[name] = SqlSandbox(make_database(name), now=NOW, limits=LIMITS)
                while len(self._sandboxes) > KEPT:
                    self._sandboxes.popitem(last=False)[1].close()
            self._sandboxes.move_to_end(name)
            sandbox = self._sandboxes[name]
            start = sandbox.snapshot()
            result = sandbox.call(ToolCall(tool, {"sql": sql}))
            if not result.ok:
                return None
            found = dict(result.content) if tool == "query" else {"changes": sandbox.diff()}
            sandbox.restore(start)
        except (InfrastructureError, KeyError):  # a comparator never raises; an unknown schema is no database
            return None
        return found


_outcome = _Outcomes()

register_comparator(ROWS, same_rows)
register_comparator(EFFECT, same_effect)
