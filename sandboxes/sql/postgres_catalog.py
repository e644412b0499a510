"""PostgreSQL's catalogue and results, read as the rest of this package has them: the same values as SQLite gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tir_gym.sandboxes.sql.inside import contents

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

LARGEST_VALUE = 8 << 20
"""Bytes; a longer text stands in a diff and a digest by a hash."""

_WHERE = "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"

TABLES = f'SELECT c.relname FROM pg_class c {_WHERE} AND c.relkind IN ({{kinds}}) ORDER BY c.relname COLLATE "C"'
VIEWS = f"SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c {_WHERE} AND c.relkind = 'v' ORDER BY 1"

COLUMNS = f"""
    SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull, COALESCE(a.attnum = ANY (i.indkey), false)
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    {_WHERE} AND c.relkind IN ('r', 'p', 'v') AND c.relname = {{table}} ORDER BY a.attnum"""

FOREIGN_KEYS = f"""
    SELECT (SELECT string_agg(a.attname, E'\\n' ORDER BY k.i) FROM unnest(f.conkey) WITH ORDINALITY k (n, i)
            JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.n) ours,
        o.relname,
        (SELECT string_agg(a.attname, E'\\n' ORDER BY k.i) FROM unnest(f.confkey) WITH ORDINALITY k (n, i)
            JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.n) theirs
    FROM pg_class c
    JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f'
    JOIN pg_class o ON o.oid = f.confrelid
    {_WHERE} AND c.relname = {{table}} ORDER BY ours, o.relname"""

SEQUENCES = f"""
    SELECT format('SELECT setval(%L, (SELECT COALESCE(MAX(%I), 0) + 1 FROM public.%I), false)',
        pg_get_serial_sequence(format('public.%I', c.relname), a.attname), a.attname, c.relname)
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    {_WHERE} AND c.relkind = 'r'
        AND pg_get_serial_sequence(format('public.%I', c.relname), a.attname) IS NOT NULL"""

_WHOLE = {20, 21, 23, 26}
_REAL = {700, 701}
_BOOLEAN, _BYTES, _NUMERIC = 16, 17, 1700


def row(result: PGresult, number: int, columns: Iterable[int]) -> list[Any]:
    """Some columns of a row as JSON values."""
    return [_value(result.get_value(number, i), result.ftype(i)) for i in columns]


def changed(result: PGresult) -> int:
    """How many rows a statement has changed."""
    tag = (result.command_status or b"").split()
    return int(tag[-1]) if tag and tag[0] in (b"INSERT", b"UPDATE", b"DELETE") else 0


def bounded(sql: bytes, columns: int, rows: int, size: int) -> bytes:
    """The statement, which gives so many columns, with rows and bytes bounded by the server.

    After the columns stand two more: NULL from the row on with which the bytes are too many, and the number of rows.
    """
    names = [f"c{i}" for i in range(columns)]
    width = " + ".join(f"COALESCE(pg_column_size({name}), 0)" for name in names)
    shown = ", ".join(f"CASE WHEN total <= {size} THEN {name} END" for name in names)
    return b"".join(
        (
            f"WITH tir ({', '.join(names)}) AS (\n".encode(),
            sql,
            f"\n) SELECT {shown}, CASE WHEN total <= {size} THEN 1 END, (SELECT COUNT(*) FROM tir) FROM (SELECT *, "
            f"SUM({width}) OVER (ROWS UNBOUNDED PRECEDING) AS total FROM tir LIMIT {rows + 1}) bounded_rows".encode(),
        )
    )


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def shortened(column: dict[str, Any]) -> str:
    """A column of a SELECT, long text by its hash."""
    name = contents.quoted(column["name"])
    if column["type"] != "text":
        return name
    return f"CASE WHEN octet_length({name}) <= {LARGEST_VALUE} THEN {name} ELSE 'md5:' || md5({name}) END"


def _value(raw: bytes | None, kind: int) -> Any:
    if raw is None:
        return None
    text = raw.decode("utf-8", "replace")
    if kind in _WHOLE or (kind == _NUMERIC and text.lstrip("-").isdigit()):
        return int(text)
    if kind in _REAL or kind == _NUMERIC:
        return float(text)
    if kind == _BOOLEAN:
        return int(text == "t")
    if kind == _BYTES:
        return "x'" + text.removeprefix("\\x").upper() + "'"
    return text
