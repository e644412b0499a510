"""Attacks in SQL: what each statement is after, and the canary that sings where nothing stands in its way.

`{public}` is a folder of the host that everybody may write, `{secret}` a file with a secret, `{other}` a database of
the host with that secret. `also` are statements before the last, which is the one that gives the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SqlCase:
    """One attack. Canaries: `secret` (shown), `planted` (a file of the host), `state` (what reset does not undo, or
    what a reading tool changed), `time`, `output`, `said` (the words in `words` come back)."""

    name: str
    about: str
    statements: tuple[str, ...]
    canary: str
    tool: str = "execute"
    words: str = ""
    limits: Mapping[str, Any] = field(default_factory=dict)
    control: str = ""
    """Why nothing can get through without protection, if so."""


SHORT = {"wall_seconds": 1.0, "cpu_seconds": 1.0}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

SQLITE: tuple[SqlCase, ...] = (
    SqlCase(
        "sql_attach",
        "makes a database file on the host with ATTACH",
        ("ATTACH DATABASE '{public}/planted' AS x", "CREATE TABLE x.t (a)"),
        "planted",
    ),
    SqlCase(
        "sql_attach_read",
        "reads another database of the host with ATTACH",
        ("ATTACH DATABASE '{other}' AS x", "SELECT word FROM x.secrets"),
        "secret",
    ),
    SqlCase(
        "sql_vacuum_into",
        "copies the database to the host with VACUUM INTO",
        ("COMMIT", "VACUUM INTO '{public}/planted'"),
        "planted",
    ),
    SqlCase(
        "sql_load_extension",
        "loads a library into the process",
        ("SELECT load_extension('{public}/absent.so')",),
        "said",
        words="cannot open shared object",
    ),
    SqlCase(
        "sql_schema_by_pragma",
        "rewrites the schema under the database with PRAGMA writable_schema",
        (
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_master SET sql = replace(sql, 'total', 'spoilt')",
            "SELECT sql FROM sqlite_master",
        ),
        "said",
        words="spoilt INTEGER",
    ),
    SqlCase(
        "sql_limits_by_pragma",
        "raises the limits on its own database",
        ("PRAGMA max_page_count = 4294967290", "PRAGMA max_page_count"),
        "said",
        words="429496729",
    ),
    SqlCase(
        "sql_temporary_files",
        "chooses where the process writes temporary files",
        ("PRAGMA temp_store_directory = '{public}'", "PRAGMA temp_store_directory"),
        "said",
        words="{public}",
    ),
    SqlCase(
        "sql_commit",
        "ends the transaction that undoing rests on",
        ("DELETE FROM orders", "COMMIT", "SELECT 1"),
        "state",
    ),
    SqlCase(
        "sql_savepoint",
        "takes over the savepoints",
        ("SAVEPOINT mine", "DELETE FROM orders", "RELEASE mine", "END", "SELECT 1"),
        "state",
    ),
    SqlCase(
        "sql_rollback_clause",
        "ends the transaction through a conflict clause",
        (
            "DELETE FROM orders WHERE id > 1",
            "INSERT OR ROLLBACK INTO orders VALUES (1, 1, 1)",
            "DELETE FROM orders",
            "SELECT 1",
        ),
        "state",
    ),
    SqlCase(
        "sql_many_statements", "hides a write behind a read", ("SELECT 1; DELETE FROM orders",), "state", tool="query"
    ),
    SqlCase(
        "sql_write_in_query",
        "writes with the tool that only reads",
        ("DELETE FROM orders RETURNING id",),
        "state",
        tool="query",
    ),
    SqlCase("sql_endless", "computes for ever with a recursive query", (ENDLESS,), "time", limits=SHORT),
    SqlCase(
        "sql_cartesian",
        "joins a table with itself until the end of time",
        ("SELECT count(*) FROM big a, big b, big c, big d, big e, big f, big g, big h",),
        "time",
        limits=SHORT,
    ),
    SqlCase(
        "sql_printf",
        "formats half a gigabyte in one step, where nobody can interrupt",
        (f"SELECT count(*) FROM ({ENDLESS.replace('max(i)', 'i')}) WHERE length(printf('%.*c', 400000000, 'x')) > 0",),
        "time",
        limits=SHORT,
    ),
    SqlCase(
        "sql_memory",
        "takes memory in one value",
        ("SELECT length(group_concat(hex(randomblob(1000000)))) FROM big a, big b",),
        "time memory",
        limits={**SHORT, "memory": 64 << 20},
    ),
    SqlCase(
        "sql_disk",
        "fills the disk",
        (
            "CREATE TABLE fat (x)",
            "INSERT INTO fat SELECT zeroblob(1000000) FROM big a, big b LIMIT 64",
            "SELECT CASE WHEN sum(length(x)) > 40000000 THEN 'fil' || 'led' END FROM fat",
        ),
        "said",
        words="filled",
        limits={"disk": 4 << 20},
    ),
    SqlCase(
        "sql_output",
        "gives back more than fits",
        ("SELECT hex(zeroblob(900000)) FROM big LIMIT 40",),
        "output",
        tool="query",
    ),
    SqlCase(
        "sql_deep",
        "breaks the parser with nesting",
        (
            "SELECT " + "(" * 100_000 + "1" + ")" * 100_000,
            "SELECT " + "1 UNION ALL SELECT " * 20_000 + "1",
            "SELECT 'alive'",
        ),
        "",
        control="the parser has limits of its own",
    ),
    SqlCase(
        "sql_trigger",
        "sets off triggers that set off each other",
        (
            "CREATE TRIGGER t AFTER INSERT ON orders BEGIN "
            "INSERT INTO orders (person, total) SELECT 1, a.i FROM big a, big b, big c, big d; END",
            "INSERT INTO orders (person, total) VALUES (1, 1)",
        ),
        "time",
        limits=SHORT,
    ),
    SqlCase(
        "sql_odd_values",
        "gives back what no JSON can say: broken text, infinity, NUL, huge whole numbers",
        ("SELECT CAST(x'ff00fe' AS TEXT), 9e999, -9e999, x'00ff', char(0, 55296), -9223372036854775808",),
        "infrastructure",
        tool="query",
    ),
)

POSTGRES: tuple[SqlCase, ...] = (
    SqlCase("pg_read_file", "reads files of the server", ("SELECT pg_read_file('{secret}')",), "secret"),
    SqlCase("pg_ls_dir", "lists folders of the server", ("SELECT pg_ls_dir('/etc')",), "said", words="passwd"),
    SqlCase(
        "pg_copy_from",
        "reads a file with COPY",
        ("CREATE TABLE f (line text)", "COPY f FROM '{secret}'", "SELECT line FROM f"),
        "secret",
    ),
    SqlCase("pg_copy_to", "writes a file with COPY", ("COPY (SELECT 1) TO '{public}/planted'",), "planted"),
    SqlCase(
        "pg_copy_program",
        "runs a program with COPY",
        ("COPY (SELECT 1) TO PROGRAM 'cat > {public}/planted'",),
        "planted",
    ),
    SqlCase(
        "pg_large_object",
        "reads a file into a large object",
        ("SELECT lo_import('{secret}', 424242)", "SELECT lo_get(424242)::text"),
        "said",
        words="x7469726b6579",
    ),
    SqlCase(
        "pg_extension",
        "loads a trusted language or a foreign server",
        ("CREATE EXTENSION file_fdw", "SELECT 'made ' || count(*) FROM pg_extension WHERE extname = 'file_fdw'"),
        "said",
        words="made 1",
    ),
    SqlCase(
        "pg_timeout",
        "takes the time limit off",
        ("SET statement_timeout = 0", "SELECT set_config('statement_timeout', '0', false)", "SELECT pg_sleep(30)"),
        "time",
        limits=SHORT,
    ),
    SqlCase(
        "pg_commit", "ends the transaction that undoing rests on", ("DELETE FROM orders", "COMMIT", "SELECT 1"), "state"
    ),
    SqlCase(
        "pg_many_statements",
        "hides a write behind a read",
        ("SELECT 1; DELETE FROM orders; COMMIT",),
        "state",
        tool="query",
    ),
    SqlCase(
        "pg_write_in_query",
        "writes with the tool that only reads",
        ("WITH d AS (DELETE FROM orders RETURNING id) SELECT * FROM d",),
        "state",
        tool="query",
    ),
    SqlCase(
        "pg_role",
        "becomes the owner of the server",
        ("SET ROLE tests", "SET SESSION AUTHORIZATION tests", "SELECT 'as', current_user"),
        "said",
        words="tests",
    ),
    SqlCase(
        "pg_create_role",
        "makes a user with all rights",
        ("CREATE ROLE mine SUPERUSER", "SELECT 'made ' || count(*) FROM pg_roles WHERE rolname = 'mine'"),
        "said",
        words="made 1",
    ),
    SqlCase(
        "pg_create_database",
        "makes a database beside its own",
        ("CREATE DATABASE {token}", "SELECT 'made ' || count(*) FROM pg_database WHERE datname = '{token}'"),
        "said",
        words="made 1",
    ),
    SqlCase(
        "pg_others",
        "ends the connections of others",
        ("SELECT count(pg_terminate_backend(pid)) > 0, 'ended' FROM pg_stat_activity WHERE usename = 'victim'",),
        "victim",
    ),
    SqlCase("pg_watches_others", "reads what others ask", ("SELECT query FROM pg_stat_activity",), "secret"),
    SqlCase(
        "pg_endless",
        "computes for ever",
        ("SELECT count(*) FROM generate_series(1, 1000000000000)",),
        "time",
        limits=SHORT,
    ),
    SqlCase(
        "pg_output",
        "gives back more than fits",
        ("SELECT repeat('x', 900000) FROM generate_series(1, 40)",),
        "output",
        tool="query",
    ),
    SqlCase(
        "pg_settings",
        "changes the server for everybody",
        (
            "ALTER SYSTEM SET work_mem = '64kB'",
            "SELECT 'set ' || count(*) FROM pg_file_settings WHERE name = 'work_mem' AND sourcefile LIKE '%auto%'",
        ),
        "said",
        words="set 1",
    ),
)
