"""A database on a PostgreSQL server as an environment sees it; see `postgres_server.py` for where databases come from.

Everything happens inside one transaction that is never committed. Statements are looked at first (`statements.py`), run
by a role that may do nothing outside its database, and bounded by the server in rows and bytes. The host ends a
connection that answers too late; `statement_timeout` is only the first stop.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tir_gym.errors import MissingExtra, ToolError
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.sql.image import Image
from tir_gym.sandboxes.sql.inside import contents
from tir_gym.sandboxes.sql.inside.program import MOST_MARKS
from tir_gym.sandboxes.sql.postgres_catalog import (
    COLUMNS,
    FOREIGN_KEYS,
    SEQUENCES,
    TABLES,
    VIEWS,
    bounded,
    changed,
    literal,
    row,
    shortened,
)
from tir_gym.sandboxes.sql.postgres_server import Place, Server, server_at
from tir_gym.sandboxes.sql.session import SessionLost, Statement
from tir_gym.sandboxes.sql.statements import Reading, read_statement

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

GRACE = 0.5
"""Seconds beyond the limit after which the connection is ended."""


class PostgresBackend:
    """Databases on a server.

    Args:
        url: Of a database there, with a user who may create databases and roles.

    Raises:
        MissingExtra: The driver is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError:
            raise MissingExtra(
                "a database on a PostgreSQL server needs psycopg; install it with: pip install 'tir-gym[sql]'"
            ) from None
        self._url = url

    def check(self) -> None:
        server_at(self._url)

    def open(self, image: Image, limits: Limits) -> PostgresSession:
        server = server_at(self._url)
        session: PostgresSession | None = server.warm(image, limits)
        if session is not None:
            return session
        place, connection = server.enter(image)
        return PostgresSession(server, place, connection, limits)


class PostgresSession:
    """One environment's connection; see `Session`."""

    def __init__(self, server: Server, place: Place, connection: psycopg.Connection[Any], limits: Limits) -> None:
        self._server, self._place, self._connection = server, place, connection
        self._image, self._limits = place.image, limits
        self._owner = os.getpid()
        self._backend = connection.info.backend_pid
        self._marks = [0]
        self._sequences: list[str] | None = None
        self._expired = False
        self._forgotten = weakref.finalize(self, server.forgotten.append, (place, connection))
        self._command("BEGIN; SAVEPOINT s0")
        self._most_size = self._size() + limits.disk

    @property
    def usable(self) -> bool:
        return self._forgotten.alive and self._owner == os.getpid()

    def run(self, statement: Statement) -> dict[str, Any]:
        try:
            reading = read_statement(statement.sql, write=statement.write)
            sql = reading.sql.encode()
        except (ToolError, UnicodeEncodeError) as error:
            kind = error.kind if isinstance(error, ToolError) else "raised"
            return {"error": str(error), "kind": kind, "changed": 0, "touched": [], "read": []}
        write = statement.write and not reading.explains
        timer = threading.Timer(statement.limits.wall_seconds + GRACE, self._expire)
        timer.daemon = True
        timer.start()
        try:
            self._begin(statement, write)
            reply = self._execute(sql, reading, statement)
            if write and "error" not in reply and reply["changed"] and self._size() > self._most_size:
                reply = {"error": "the database is full", "kind": "disk_limit"}
            self._settle(keep=write and "error" not in reply)
        except SessionLost:
            raise
        except BaseException:  # Ctrl-C: nobody knows how far it came
            self.end()
            raise
        finally:
            timer.cancel()
        tables = sorted(name for name in self._image.tables if name.lower() in reading.names or name in reading.names)
        touched = ["*"] if reading.defines else tables
        if reading.defines:
            self._sequences = None
        facts = {"changed": 0, "touched": touched if write else [], "read": tables}
        return {**facts, **reply}

    def rewind(self, position: int) -> int:
        found = max(mark for mark in self._marks if mark <= position)
        self._command(f"ROLLBACK TO s{found}")
        self._marks = [mark for mark in self._marks if mark <= found]
        self._sequences = None
        return found

    def tables(self) -> list[str]:
        return [name for (name,) in self._rows(TABLES.format(kinds="'r', 'p', 'v'"))]

    def describe(self, table: str) -> dict[str, Any] | None:
        columns = self._rows(COLUMNS.format(table=literal(table)))
        if not columns:
            return None
        keys = self._rows(FOREIGN_KEYS.format(table=literal(table)))
        return {
            "columns": [
                {
                    "name": name,
                    "type": contents.plain_type(kind),
                    "nullable": not (notnull or key),
                    "primary_key": bool(key),
                }
                for name, kind, notnull, key in columns
            ],
            "foreign_keys": [
                {"columns": ours.split("\n"), "table": other, "references": theirs.split("\n")}
                for ours, other, theirs in keys
            ],
        }

    def digests(self, tables: list[str] | None) -> dict[str, Any]:
        self._command(_WITHOUT_TIMEOUT)
        names = self._base_tables() if tables is None else tables
        return {
            "tables": {name: contents.table_digest(*self._contents(name)) for name in names},
            "views": self._views(),
        }

    def changes(self, tables: list[str] | None) -> dict[str, Any]:
        self._command(_WITHOUT_TIMEOUT)
        base = self._image.connect()
        names = sorted({*contents.table_names(base), *self._base_tables()}) if tables is None else tables
        found: dict[str, Any] = {}
        for name in names:
            contents.add_changes(found, name, contents.contents(base, name), self._contents(name))
        base.close()
        views = contents.changed_texts(self._image.views, self._views())
        if views:
            found["(views)"] = views
        return found

    def close(self) -> None:
        if not self.usable:
            return
        try:
            if self.rewind(0) == 0 and self._server.keep(self, self._image, self._limits):
                return
        except SessionLost:
            return
        self.end()

    def end(self) -> None:
        """End the connection for good, if it has not been."""
        if self._forgotten.detach() and self._owner == os.getpid():
            with suppress(Exception):
                self._connection.close()
            self._server.give_back(self._place)

    # One statement.

    def _begin(self, statement: Statement, write: bool) -> None:
        steps = []
        if write and statement.position not in self._marks and len(self._marks) < MOST_MARKS:
            steps.append(f"SAVEPOINT s{statement.position}")
            self._marks.append(statement.position)
        steps.append("SAVEPOINT call")
        steps.append(f"SET LOCAL statement_timeout = {int(1000 * statement.limits.wall_seconds)}")
        steps.append(f"SELECT setseed({random.Random(statement.seed).uniform(-1, 1)!r})")
        if write:
            steps += self._next_ids()
        else:
            steps.append("SET LOCAL transaction_read_only = on")
        self._command("; ".join(steps))

    def _execute(self, sql: bytes, reading: Reading, statement: Statement) -> dict[str, Any]:
        pg = self._connection.pgconn
        described = self._checked(pg.prepare(b"", sql))
        if described is None:
            described = self._checked(pg.describe_prepared(b""))
        if described is not None:
            return described
        columns = [(self._last.fname(i) or b"").decode("utf-8", "replace") for i in range(self._last.nfields)]
        if columns and not reading.explains:
            # The server counts rows and bytes, so that no result is larger than this process can bear.
            error = self._checked(
                pg.exec_params(bounded(sql, len(columns), statement.rows, statement.limits.output), [])
            )
            return error if error is not None else self._read_bounded(columns, statement, reading.changes)
        error = self._checked(pg.exec_prepared(b"", []))
        if error is not None:
            return error
        rows = [row(self._last, i, range(len(columns))) for i in range(self._last.ntuples)]
        return {"columns": columns, "rows": rows, "truncated": False, "changed": changed(self._last)}

    def _read_bounded(self, columns: list[str], statement: Statement, changes: bool) -> dict[str, Any]:
        result, width = self._last, len(columns)
        rows: list[Any] = []
        size, over = len(repr(columns)), False
        for i in range(min(result.ntuples, statement.rows)):
            found = row(result, i, range(width)) if result.get_value(i, width) is not None else None
            size += 0 if found is None else len(repr(found))
            if found is None or size > statement.limits.output:
                over = True
                break
            rows.append(found)
        count = int(result.get_value(0, width + 1) or 0) if result.ntuples else 0
        reply: dict[str, Any] = {"columns": columns, "rows": rows, "truncated": over or len(rows) < result.ntuples}
        reply["changed"] = count if changes else 0
        if over:
            reply |= {"error": "the result is too large", "kind": "output_limit"}
        return reply

    def _settle(self, *, keep: bool) -> None:
        self._command("RELEASE call" if keep else "ROLLBACK TO call; RELEASE call")
        if self._connection.info.transaction_status.name != "INTRANS":
            self._place.clean = False  # whatever it was, it has left the transaction
            self.end()
            raise SessionLost("died")

    def _next_ids(self) -> list[str]:
        """Sequences stand outside transactions; so that ids come again, each is set to go on from what there is."""
        if self._sequences is None:
            self._sequences = [text for (text,) in self._rows(SEQUENCES)]
        return self._sequences

    def _expire(self) -> None:
        self._expired = True
        self._server.terminate(self._backend)

    def _size(self) -> int:
        return int(self._rows("SELECT pg_database_size(current_database())")[0][0])

    # What is there.

    def _base_tables(self) -> list[str]:
        return [name for (name,) in self._rows(TABLES.format(kinds="'r', 'p'"))]

    def _views(self) -> dict[str, str]:
        """Definitions; the template's own as the image has them, where the server's are still the first ones."""
        found = dict(self._rows(VIEWS))
        first = self._server.views(self._image)
        return {name: self._image.views[name] if first.get(name) == text else text for name, text in found.items()}

    def _contents(self, table: str) -> tuple[dict[str, Any] | None, list[str], Iterator[tuple[Any, ...]]]:
        found = self.describe(table)
        if found is None:
            return None, [], iter(())
        key = [column["name"] for column in found["columns"] if column["primary_key"]]
        order = " ORDER BY " + ", ".join(map(contents.quoted, key)) if key else ""
        names = ", ".join(shortened(column) for column in found["columns"])
        return found, key, self._stream(f"SELECT {names} FROM public.{contents.quoted(table)}{order}")

    def _stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        name = f"c{secrets.token_hex(4)}"
        self._command(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}")
        while rows := self._rows(f"FETCH 1000 FROM {name}"):
            yield from rows
        self._command(f"CLOSE {name}")

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        self._command(sql)
        width = range(self._last.nfields)
        return [tuple(row(self._last, i, width)) for i in range(self._last.ntuples)]

    def _command(self, sql: str) -> None:
        error = self._checked(self._connection.pgconn.exec_(sql.encode()))
        if error is not None:
            self.end()
            raise SessionLost(error["kind"] if error["kind"].endswith("_limit") else "died")

    def _checked(self, result: PGresult) -> dict[str, Any] | None:
        """The error in a result, as a reply; `None` where there is none."""
        from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus

        self._last = result
        if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY):
            return None
        if self._connection.pgconn.status == ConnStatus.BAD:
            self.end()
            raise SessionLost("time_limit" if self._expired else "died")
        state = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
        text = (result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"failed").decode("utf-8", "replace")
        return {"error": text[:2000], "kind": _KINDS.get(state, "raised")}


_WITHOUT_TIMEOUT = "SET LOCAL statement_timeout = 0"
"""For what is not the agent's; each statement of the agent sets its own."""

_KINDS = {
    "57014": "time_limit",
    "53200": "memory_limit",
    "53100": "disk_limit",
    "53400": "disk_limit",
    "42501": "refused",
    "25006": "refused",
}
"""Kinds of errors by SQLSTATE."""
