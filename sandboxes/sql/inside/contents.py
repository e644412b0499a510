"""What the tables of an SQLite database are and hold: descriptions, digests, and what differs between two states."""

from __future__ import annotations

import hashlib
import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

Row = tuple[Any, ...]
Contents = tuple["dict[str, Any] | None", list[str], Iterable[Row]]
"""Description, names of the key's columns, and rows of a table; `(None, [], ())` where there is none."""

MOST_CHANGED_ROWS = 5000
MOST_CHANGED_BYTES = 8 << 20
"""What a diff tells row by row; a table with more changes is told by its number of rows and a digest of them."""

encode = json.JSONEncoder(separators=(",", ":"), default=lambda value: f"x'{bytes(value).hex().upper()}'").encode


def load(image: bytes) -> sqlite3.Connection:
    """A connection to a copy of a database, in memory; empty for no bytes."""
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    connection.text_factory = decode
    if image:
        connection.deserialize(image)
    return connection


def decode(raw: bytes) -> str:
    """Text as JSON can have it."""
    return raw.decode("utf-8", "replace")


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def table_names(connection: sqlite3.Connection, *, views: bool = False) -> list[str]:
    """Names of tables, and of views where asked for, sorted."""
    rows = connection.execute("SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
    return sorted(name for name, kind in rows if kind == "table" or (views and kind == "view"))


def view_texts(connection: sqlite3.Connection) -> dict[str, str]:
    """Definition of each view."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name").fetchall())


def describe(connection: sqlite3.Connection, table: str) -> dict[str, Any] | None:
    """Columns and keys of a table or view; `None` where there is none of that name."""
    columns = connection.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall()
    if not columns:
        return None
    named = {column[1].lower(): column[1] for column in columns}
    keys: dict[int, dict[str, Any]] = {}
    for key in connection.execute("SELECT * FROM pragma_foreign_key_list(?)", (table,)):
        entry = keys.setdefault(key[0], {"columns": [], "table": key[2], "references": []})
        entry["columns"].append(named.get(key[3].lower(), key[3]))
        entry["references"].append(key[4])
    for entry in keys.values():
        if None in entry["references"]:  # the other table's own key is meant
            there = connection.execute("SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (entry["table"],))
            entry["references"] = [name for (name,) in there]
    return {
        "columns": [
            {"name": name, "type": plain_type(kind), "nullable": not (notnull or key), "primary_key": bool(key)}
            for _, name, kind, notnull, _, key in columns
        ],
        "foreign_keys": sorted(keys.values(), key=lambda entry: (entry["columns"], entry["table"])),
    }


def plain_type(declared: str) -> str:
    """`integer`, `text` or `real`, by SQLite's rules of affinity, which servers' names fit too; else as declared."""
    name = declared.lower()
    for kind, parts in (
        ("integer", ("int", "serial")),
        ("text", ("char", "clob", "text")),
        ("real", ("real", "floa", "doub", "numeric", "decimal")),
    ):
        if any(part in name for part in parts):
            return kind
    return name


def contents(connection: sqlite3.Connection, table: str) -> Contents:
    """What a table is and holds."""
    found = describe(connection, table)
    if found is None:
        return None, [], ()
    key = [column["name"] for column in found["columns"] if column["primary_key"]]
    order = f" ORDER BY {', '.join(map(quoted, key))}" if key else ""
    names = ", ".join(quoted(column["name"]) for column in found["columns"])
    return found, key, connection.execute(f"SELECT {names} FROM {quoted(table)}{order}")


def table_digest(description: dict[str, Any] | None, key: list[str], rows: Iterable[Row]) -> str:
    """Of a table's columns and rows, whatever the order in which SQL gives them: by its key, or as a sum of hashes."""
    digest = hashlib.blake2b(encode(description).encode(), digest_size=16)
    total = 0
    for batch in _batches(rows):
        if key:
            digest.update(encode(batch).encode())
        else:
            total += sum(map(_row_hash, batch))
    return f"{digest.hexdigest()}:{total % (1 << 128):032x}"


def add_changes(found: dict[str, Any], table: str, before: Contents, after: Contents) -> None:
    """Add what differs between two states of a table to `found`: `{name: {key: {"before", "after"}}}`.

    Rows with a key of one whole number, which the database may have generated, stand under its text, and the record
    has that text too. Other keys stand as JSON lists, so that they are told from what only repeats the key.
    """
    if before[0] != after[0]:
        found.setdefault("(tables)", {})[table] = {"before": before[0], "after": after[0]}
    lost, new = _unlike(before[2], after[2])
    if len(lost) + len(new) > MOST_CHANGED_ROWS or sum(len(repr(row)) for row in (*lost, *new)) > MOST_CHANGED_BYTES:
        found[table] = {"(rows)": {"before": _summary(lost), "after": _summary(new)}}
        return
    rows: dict[str, dict[str, Any]] = {}
    for side, (description, key, _), held in (("before", before, lost), ("after", after, new)):
        names = [column["name"] for column in description["columns"]] if description else []
        for row, times in held.items():
            for repeated in range(times):
                name, record = _keyed(dict(zip(names, row, strict=True)), key, repeated)
                rows.setdefault(name, {"before": None, "after": None})[side] = record
    if rows:
        found[table] = dict(sorted(rows.items()))


def changed_texts(before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    """What differs between two mappings of names to texts."""
    return {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _unlike(before: Iterable[Row], after: Iterable[Row]) -> tuple[dict[Row, int], dict[Row, int]]:
    """Rows that are on one side only, with how often. Rows in the same order cost no memory."""
    lost: dict[Row, int] = {}
    new: dict[Row, int] = {}
    for a, b in _pairs(before, after):
        for row, ours, others in ((a, lost, new), (b, new, lost)):
            if row is None:
                continue
            if row in others:
                others[row] -= 1
                if not others[row]:
                    del others[row]
            else:
                ours[row] = ours.get(row, 0) + 1
    return lost, new


def _pairs(before: Iterable[Row], after: Iterable[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Pairs of rows that are not the same, `None` where one side has no more."""
    ours, others = _batches(before), _batches(after)
    while True:
        a, b = next(ours, []), next(others, [])
        if not a and not b:
            return
        if a != b:
            yield from (pair for pair in itertools.zip_longest(a, b) if pair[0] != pair[1])


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists of a thousand, which are compared and encoded much faster than one by one."""
    rows = iter(rows)
    while batch := list(itertools.islice(rows, 1000)):
        yield batch


def _keyed(record: dict[str, Any], key: list[str], repeated: int) -> tuple[str, dict[str, Any]]:
    if len(key) == 1 and isinstance(record[key[0]], int):
        name = str(record[key[0]])
        return name, {**record, key[0]: name}
    if key:
        return encode([record[column] for column in key]), record
    return f"{_row_hash(list(record.values())):032x}#{repeated}", record


def _row_hash(row: Iterable[Any]) -> int:
    return int.from_bytes(hashlib.blake2b(encode(tuple(row)).encode(), digest_size=16).digest(), "big")


def _summary(rows: dict[Row, int]) -> dict[str, Any]:
    total = sum(_row_hash(row) * times for row, times in rows.items()) % (1 << 128)
    return {"rows": sum(rows.values()), "digest": f"{total:032x}"}
