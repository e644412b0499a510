"""`SqlSandbox`: a database of one's own, from a template that many share.

What an environment has done is the list of its statements that wrote (`_Done`). Everything follows from that list: a
snapshot is the list, a fork shares it, and a process that had to be killed is replaced by a new one that runs it again.
Savepoints inside the process only make going back quick. Statements give the same twice, because the clock stands
still and chance comes from the seed.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from tir_gym.errors import (
    CodeDied,
    CodeRaised,
    CpuLimit,
    DiskLimit,
    InfrastructureError,
    MemoryLimit,
    OutputLimit,
    SandboxDied,
    TimeLimit,
    ToolError,
    UsageError,
)
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandbox import Limits, Sandbox, check_picture
from tir_gym.sandboxes.jail.tiers import Tier
from tir_gym.sandboxes.sql.image import Source, make_image
from tir_gym.sandboxes.sql.session import GONE, Backend, Session, SessionLost, Statement
from tir_gym.sandboxes.sql.tools import READING, WRITING, Database

Role: TypeAlias = Literal["read", "write"]
T = TypeVar("T")

log = logging.getLogger("tir_gym.sandbox")

REPLAY_FACTOR = 5
"""How much longer than an agent's call its repetition may take."""

_TEXTS = {
    "time_limit": "stopped after {0.wall_seconds:g} s",
    "cpu_limit": "stopped after {0.cpu_seconds:g} s of processor time",
    "memory_limit": "more than {0.memory} bytes of memory",
    "disk_limit": "the database may not grow by more than {0.disk} bytes",
    "output_limit": "the result is larger than {0.output} bytes; what fits is shown",
    "died": "the database's process ended; the statement has changed nothing",
}


@dataclass(frozen=True)
class _Done:
    """A statement that changed something."""

    sql: str
    seed: str
    touched: frozenset[str]
    """Tables, `*` where the schema changed."""


_Log: TypeAlias = tuple[_Done, ...]


class SqlSandbox(Sandbox, Database):
    """A database with the tools `query`, `execute`, `list_tables` and `describe_table`.

    Each call is one statement and one transaction: it changes all or nothing. The process that runs it is taken at the
    first call, and given back by `close` or by going back to the initial state.

    Args:
        database: The initial content: the bytes of an SQLite database, the path of its file, or
            `{"schema": DDL, "rows": {table: rows}}`; empty for `None`.
        role: `write`: all four tools. `read`: without `execute`.
        url: A PostgreSQL server, `postgresql://user@host/database`, whose user may create databases and roles.
            SQLite, in a slot of this machine, for `None`.
        require: Take no tier of the jail weaker than this one, see `JailSandbox`; means nothing to a server.
        rows: Most rows of one result; more are cut off and the result says so.
        now: The simulated clock, `YYYY-MM-DD HH:MM:SS`. On a server it is that of columns' defaults alone.
        seed: Where random numbers come from.
        limits: What each environment may use. `disk` is by how much the database may grow. `memory` and `cpu_seconds`
            hold for SQLite; a server's are limited at the server. Processes and files there are none.

    Raises:
        UsageError: A role that there is not, a content that is no database, or an option that cannot be.
        MissingExtra: The URL needs the extra `sql`.
    """

    def __init__(
        self,
        database: Source = None,
        *,
        role: Role = "write",
        url: str | None = None,
        require: Tier | None = None,
        rows: int = 1000,
        now: str = "2025-01-06 09:00:00",
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        if role not in ("read", "write"):
            raise UsageError(f"role={role!r}: choose 'read' or 'write'")
        if not isinstance(rows, int) or rows < 1:
            raise UsageError(f"rows={rows!r}: give the most rows of one result, a whole number from 1")
        if not isinstance(seed, int):
            raise UsageError(f"seed={seed!r}: give a whole number")
        self.limits = limits or Limits()
        self.role: Role = role
        self.image = make_image(database, now)
        self._backend = _backend(url, require)
        self._most_rows = rows
        self._seed = seed
        self._toolkit = READING if role == "read" else WRITING
        self.specs = self._toolkit.specs
        self._log: _Log = ()
        self._session: Session | None = None
        self._applied: _Log = ()

    def start(self) -> None:
        """See that there can be a database; a process is taken at the first call.

        Raises:
            SandboxUnavailable: There is no server, or no tier of the jail that will do.
        """
        self._backend.check()

    def call(self, call: ToolCall) -> ToolResult:
        try:
            return ToolResult(content=self._toolkit.find(call.name).run(call.arguments, {Database: self}))
        except ToolError as error:
            return ToolResult(content=error.content, error=str(error), error_kind=error.kind)

    def snapshot(self) -> Any:
        return self._log

    def restore(self, snapshot: Any) -> None:
        check_picture(snapshot, tuple)
        self._log = snapshot
        if not self._log:
            self.close()

    def fork(self) -> SqlSandbox:
        twin = SqlSandbox.__new__(SqlSandbox)
        twin.__dict__.update(self.__dict__, _session=None, _applied=())
        return twin

    def digest(self) -> str:
        digests, views = self.image.digests, self.image.views
        touched = self._touched()
        if touched is None or touched:
            found = self._on_session(lambda session: session.digests(touched))
            digests = {**({} if touched is None else digests), **found["tables"]}
            views = found["views"]
        text = repr((sorted(digests.items()), sorted(views.items())))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def diff(self) -> dict[str, Any]:
        """Table -> key -> `before` and `after`.

        Rows with a key of one whole number stand under its text; other keys stand as JSON lists; rows without a key
        under a hash. Changed columns stand under `(tables)`, changed views under `(views)`. Where thousands of rows of
        a table differ, `(rows)` holds their number and a digest of them instead.
        """
        touched = self._touched()
        if touched is not None and not touched:
            return {}
        return self._on_session(lambda session: session.changes(touched))

    def close(self) -> None:
        session, self._session, self._applied = self._session, None, ()
        if session is not None:
            session.close()

    # What the tools use.

    def run_sql(self, sql: str, *, write: bool) -> dict[str, Any]:
        statement = self._statement(sql, write=write)
        try:
            return self._kept(statement, self._run(statement))
        except ToolError:
            raise
        except BaseException:  # Ctrl-C: the process may have done what the log does not say
            self.close()
            raise

    def _kept(self, statement: Statement, reply: dict[str, Any]) -> dict[str, Any]:
        """The content for the agent; what has changed something goes into the log."""
        if reply.get("lost"):
            self._applied = ()
        if "error" in reply:
            kind = reply["kind"]
            text = _TEXTS[kind].format(self.limits) if kind in _TEXTS else reply["error"]
            content = {name: reply[name] for name in ("columns", "rows", "truncated") if name in reply} or None
            raise _ERRORS[kind](text, content=content)
        if statement.write and (reply["changed"] or "*" in reply["touched"]):
            self._log = (*self._log, _Done(statement.sql, statement.seed, frozenset(reply["touched"])))
            self._applied = self._log
        result = {name: reply[name] for name in ("columns", "rows", "truncated")}
        if not statement.write:
            return result
        return {"rows_changed": reply["changed"], **(result if result["columns"] else {})}

    @property
    def most_output(self) -> int:
        return self.limits.output

    def table_names(self) -> list[str]:
        if self._touched() is not None:
            return sorted(self.image.tables)
        return self._on_session(lambda session: session.tables())

    def describe(self, table: str) -> dict[str, Any]:
        found = self.image.tables.get(table)
        if self._touched() is None:
            found = self._on_session(lambda session: session.describe(table))
        if found is None:
            raise ToolError(f"there is no table {table!r}; the tables are: {', '.join(self.table_names())[:1000]}")
        return found

    # The session.

    def _run(self, statement: Statement) -> dict[str, Any]:
        for _ in range(2):
            session = self._ready()
            try:
                return session.run(statement)
            except SessionLost as lost:
                self.close()
                if lost.kind != GONE:
                    raise _ERRORS[lost.kind](_TEXTS[lost.kind].format(self.limits)) from None
        raise SandboxDied("sql: the database went away twice while a statement ran")

    def _statement(self, sql: str, *, write: bool) -> Statement:
        text = f"{self._seed}/{len(self._log)}/{sql}"
        seed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return Statement(sql, write, len(self._log), seed, self.limits, self._most_rows)

    def _touched(self) -> list[str] | None:
        """The tables that may differ from the template's; `None` where any may."""
        names = {name for done in self._log for name in done.touched}
        return None if "*" in names else sorted(self.image.behind(names))

    def _on_session(self, work: Callable[[Session], T]) -> T:
        for _ in range(2):
            try:
                return work(self._ready())
            except SessionLost:
                self.close()
        raise SandboxDied("sql: the database's process ended twice while it was only looked at")

    def _ready(self) -> Session:
        """A session in the state that the log says."""
        for _ in range(2):
            try:
                session = self._leased()
                self._catch_up(session)
                return session
            except SessionLost as lost:
                log.warning("a database process ended (%s) while statements were repeated", lost.kind)
                self.close()
        raise SandboxDied("sql: the database's process ended twice while its statements were repeated")

    def _leased(self) -> Session:
        if self._session is None or not self._session.usable:
            self._session, self._applied = self._backend.open(self.image, self.limits), ()
        return self._session

    def _catch_up(self, session: Session) -> None:
        if self._applied == self._log:
            return
        shared = next(
            (n for n, (a, b) in enumerate(zip(self._applied, self._log, strict=False)) if a != b),
            min(len(self._applied), len(self._log)),
        )
        if shared < len(self._applied):
            self._applied = self._applied[: session.rewind(shared)]
        slower = {name: REPLAY_FACTOR * getattr(self.limits, name) for name in ("wall_seconds", "cpu_seconds")}
        limits = self.limits.model_copy(update=slower)
        for position in range(len(self._applied), len(self._log)):
            done = self._log[position]
            reply = session.run(Statement(done.sql, True, position, done.seed, limits, 0))
            if "error" in reply:
                raise InfrastructureError(
                    f"a statement that worked fails when repeated: {reply['error']}", kind="sandbox_bug"
                )
            self._applied = self._log[: position + 1]


def _backend(url: str | None, require: Tier | None) -> Backend:
    if url is None:
        from tir_gym.sandboxes.sql.sqlite import SqliteBackend

        return SqliteBackend(require)
    from tir_gym.sandboxes.sql.postgres import PostgresBackend

    return PostgresBackend(url)


_ERRORS: dict[str, type[ToolError]] = {
    error.kind: error
    for error in (CodeDied, CodeRaised, CpuLimit, DiskLimit, MemoryLimit, OutputLimit, TimeLimit, ToolError)
}
