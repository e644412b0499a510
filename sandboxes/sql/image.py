"""The database that an environment starts from, as the bytes of an SQLite database: a value, whoever runs it.

Made from DDL and rows, or read from a file. A server's template is made from the same bytes (`postgres.py`).
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from tir_gym.errors import UsageError
from tir_gym.sandboxes.sql.inside import contents

Rows: TypeAlias = Mapping[str, Sequence[Sequence[Any] | Mapping[str, Any]]]
Source: TypeAlias = "bytes | str | Path | Mapping[str, Any] | Image | None"
"""An SQLite database as bytes, the path of its file, or `{"schema": DDL, "rows": {table: rows}}`; `None`: empty."""

_CLOCK_FORM = "%Y-%m-%d %H:%M:%S"
_CLOCK = re.compile(r"\bcurrent_(timestamp|date|time)\b", re.IGNORECASE)


class Image:
    """A database as bytes, and what follows from them.

    Args:
        data: As SQLite serialises it.
        now: The simulated clock, `YYYY-MM-DD HH:MM:SS`; defaults of columns that name the clock become its value.

    Raises:
        UsageError: The bytes are no SQLite database, or the clock shows no such time.
    """

    def __init__(self, data: bytes, now: str) -> None:
        _check_clock(now)
        if data[18:20] == b"\x02\x02":  # written with a write-ahead log, which a database in memory cannot have
            data = data[:18] + b"\x01\x01" + data[20:]
        self.data = _with_fixed_clock(data, now)
        self.now = now
        self.key = hashlib.blake2b(self.data + now.encode(), digest_size=16).hexdigest()

    def connect(self) -> sqlite3.Connection:
        """A copy of it in this process, for who made it: nothing guards it."""
        return contents.load(self.data)

    @cached_property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Description of each table and view, by name."""
        connection = self.connect()
        names = contents.table_names(connection, views=True)
        found = {name: contents.describe(connection, name) or {} for name in names}
        connection.close()
        return found

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digest of each table, by name."""
        connection = self.connect()
        names = contents.table_names(connection)
        found = {name: contents.table_digest(*contents.contents(connection, name)) for name in names}
        connection.close()
        return found

    @cached_property
    def views(self) -> dict[str, str]:
        """Definition of each view, by name."""
        connection = self.connect()
        found = contents.view_texts(connection)
        connection.close()
        return found

    def behind(self, tables: set[str]) -> set[str]:
        """These tables and all whose rows may change with theirs, by foreign keys."""
        found = set(tables)
        while True:
            more = {
                name
                for name, table in self.tables.items()
                if name not in found and any(key["table"] in found for key in table["foreign_keys"])
            }
            if not more:
                return found
            found |= more


def make_image(source: Source, now: str) -> Image:
    """The database that `source` says.

    Raises:
        UsageError: No such file, no database, or DDL and rows that do not fit.
    """
    if isinstance(source, Image):
        return source
    if isinstance(source, bytes):
        return Image(source, now)
    if isinstance(source, (str, Path)):
        return Image(_read(Path(source)), now)
    if source is None:
        source = {}
    if not isinstance(source, Mapping) or set(source) - {"schema", "rows"}:
        raise UsageError(f"database={source!r:.80}: give bytes, a path, or {{'schema': DDL, 'rows': {{table: rows}}}}")
    return Image(_build(source.get("schema", ""), source.get("rows", {})), now)


def _build(schema: str, rows: Rows) -> bytes:
    if not isinstance(schema, str) or not isinstance(rows, Mapping):
        raise UsageError("database: 'schema' is DDL as one text, and 'rows' are {table: rows}")
    connection = contents.load(b"")
    try:
        connection.execute("PRAGMA user_version = 0")  # writes the first page: what has none cannot be serialised
        connection.executescript(schema)
        connection.execute("BEGIN")
        for table, entries in rows.items():
            _insert(connection, table, entries)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise UsageError(f"database: {error}") from error
    data = connection.serialize()
    connection.close()
    return bytes(data)


def _check_clock(now: Any) -> None:
    try:
        if datetime.strptime(now, _CLOCK_FORM).strftime(_CLOCK_FORM) == now:
            return
    except (TypeError, ValueError):
        pass
    raise UsageError(f"now={now!r}: give the simulated clock as YYYY-MM-DD HH:MM:SS, such as '2025-01-06 09:00:00'")


def _insert(connection: sqlite3.Connection, table: str, entries: Any) -> None:
    name = contents.quoted(table)
    _check_rows(table, entries)
    if entries and isinstance(entries[0], Mapping):
        columns = list(entries[0])
        if any(entry.keys() != entries[0].keys() for entry in entries):
            raise UsageError(f"database: the rows of {table!r} name different columns; let each name {columns}")
        named = ", ".join(map(contents.quoted, columns))
        places = ", ".join("?" * len(columns))
        values = ([entry[column] for column in columns] for entry in entries)
        connection.executemany(f"INSERT INTO {name} ({named}) VALUES ({places})", values)
    elif entries:
        connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(entries[0]))})", entries)


def _check_rows(table: str, entries: Any) -> None:
    """See that they are rows: of a text SQLite would take each letter, of a record each name, without a word."""
    kinds = set(map(type, entries)) if isinstance(entries, Sequence) and not isinstance(entries, (str, bytes)) else None
    if kinds is not None and all(issubclass(kind, Sequence) and not issubclass(kind, (str, bytes)) for kind in kinds):
        return
    if kinds is not None and all(issubclass(kind, Mapping) for kind in kinds):
        return
    raise UsageError(f"database: the rows of {table!r} are {entries!r:.80}; give a list of lists, or a list of dicts")


def _read(path: Path) -> bytes:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        data = bytes(connection.serialize())
        connection.close()
    except sqlite3.Error as error:
        raise UsageError(f"database={str(path)!r} is no SQLite database that can be read: {error}") from error
    return data


def _with_fixed_clock(data: bytes, now: str) -> bytes:
    connection = contents.load(data)
    values = {"timestamp": now, "date": now[:10], "time": now[11:]}
    try:
        found = connection.execute("SELECT rowid, sql FROM sqlite_master WHERE sql LIKE '%current\\_%' ESCAPE '\\'")
        for row, sql in found.fetchall():
            connection.execute("PRAGMA writable_schema = 1")
            fixed = _CLOCK.sub(lambda match: f"'{values[match[1].lower()]}'", sql)
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE rowid = ?", (fixed, row))
        if connection.total_changes:
            data = bytes(connection.serialize())
    except sqlite3.DatabaseError as error:
        raise UsageError(f"database: the {len(data)} bytes given are no SQLite database: {error}") from error
    finally:
        connection.close()
    return data
