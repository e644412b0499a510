"""`tir_gym/SQL-v0`: questions about generated databases, and changes to them, as an environment."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from tir_gym.env import Split, ToolEnv
from tir_gym.envs.sql.database import FEWEST, MOST, Name, make_database
from tir_gym.envs.sql.generator import make_task
from tir_gym.errors import UsageError
from tir_gym.gold import verified
from tir_gym.records import Task
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.sql import SqlSandbox


class SqlEnv(ToolEnv):
    """Questions whose answers one finds with SQL, from look-ups to windows, and changes. Each task has a database.

    Args:
        rows: About how many rows the database has, 100 to 1,000,000. With it, all tasks of a split and a schema share
            one database, so that a large one is made once. Without it, each task has one of a few hundred rows.
        url: A PostgreSQL server to run on, `postgresql://user@host/database`; SQLite in a slot for `None`. Tasks,
            golds and answers are the same.
        options: As `ToolEnv` has them.
    """

    env_id = "tir_gym/SQL-v0"

    def __init__(self, *, rows: int | None = None, url: str | None = None, **options: Any) -> None:
        if rows is not None and (not isinstance(rows, int) or not FEWEST <= rows <= MOST):
            raise UsageError(f"rows={rows!r}: give a whole number from {FEWEST} to {MOST}")
        self.rows = rows
        self.url = url
        super().__init__(**options)

    def make_task(self, split: Split, number: int) -> Task:
        task = make_task(split, number, self.rows)
        with closing(self.make_sandbox(task)) as sandbox:
            return verified(task, sandbox)

    def make_sandbox(self, task: Task) -> SqlSandbox:
        sandbox = SqlSandbox(
            make_database(Name(**task.state["database"])),
            role=task.state["role"],
            url=self.url,
            now=task.now,
            seed=task.seed,
            limits=Limits(),
        )
        sandbox.start()
        return sandbox

    def task_source(self) -> tuple[int | None, str | None]:
        return self.rows, self.url
