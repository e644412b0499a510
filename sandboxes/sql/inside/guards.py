"""What SQL may do in a slot's database: the actions, pragmas, functions and sizes that are allowed."""

from __future__ import annotations

import os
import resource
import sqlite3

ROWS = {sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
WRITING = ROWS | {
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_ALTER_TABLE,
    sqlite3.SQLITE_REINDEX,
}
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}
SAYINGS = {
    sqlite3.SQLITE_ATTACH: "ATTACH",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_TRANSACTION: "controlling the transaction",
    sqlite3.SQLITE_SAVEPOINT: "controlling the transaction",
    sqlite3.SQLITE_CREATE_VTABLE: "a virtual table",
    sqlite3.SQLITE_DROP_VTABLE: "a virtual table",
    sqlite3.SQLITE_CREATE_TRIGGER: "a trigger",
    sqlite3.SQLITE_DROP_TRIGGER: "dropping a trigger",
    sqlite3.SQLITE_CREATE_TEMP_TABLE: "a temporary table",
    sqlite3.SQLITE_CREATE_TEMP_INDEX: "a temporary index",
    sqlite3.SQLITE_CREATE_TEMP_VIEW: "a temporary view",
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER: "a temporary trigger",
    sqlite3.SQLITE_ANALYZE: "ANALYZE",
    sqlite3.SQLITE_READ: "that table",
}
HIDDEN_TABLES = {"dbstat", "sqlite_dbpage", "sqlite_stmt", "sqlite_temp_master", "sqlite_temp_schema", "fts3tokenize"}
PRAGMAS = {
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
}
# Not `changes` and its like, which would tell of what has been undone.
FUNCTIONS = frozenset(
    """
    abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling char coalesce concat concat_ws cos cosh count
    cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor
    format glob group_concat hex ifnull iif instr json json_array json_array_length json_each json_extract
    json_group_array json_group_object json_insert json_object json_patch json_quote json_remove json_replace
    json_set json_tree json_type json_valid julianday lag last_value lead length like ln log log10 log2 lower ltrim
    max min mod nth_value ntile nullif octet_length percent_rank pi pow power printf quote radians random randomblob
    rank replace round row_number rtrim sign sin sinh sqrt strftime string_agg substr substring sum sqlite_version
    tan tanh time total trim trunc typeof unhex unicode unixepoch upper zeroblob -> ->>
    """.split()  # noqa: SIM905
)

LARGEST_VALUE = 8 << 20
"""Bytes of one value."""
_SIZES = {
    sqlite3.SQLITE_LIMIT_LENGTH: LARGEST_VALUE,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 100,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 50,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}


def limit_sizes(connection: sqlite3.Connection, image: int, memory: int, disk: int) -> None:
    """Bound what a connection may take, and set it up so that SQL means what it means elsewhere.

    Args:
        connection: To the template.
        image: Bytes of the template.
        memory: Bytes beyond it.
        disk: Bytes by which the database may grow.
    """
    for limit, value in _SIZES.items():
        connection.setlimit(limit, value)
    for pragma in (
        "trusted_schema = 0",  # a schema calls no function that has an effect
        "cell_size_check = 1",
        "temp_store = 2",  # memory: there are no files
        "foreign_keys = 1",
        "case_sensitive_like = 1",
    ):
        connection.execute(f"PRAGMA {pragma}")
    if hasattr(connection, "enable_load_extension"):
        connection.enable_load_extension(False)
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + disk // page}")
    # Twice the template: a diff holds a second copy of it.
    heap = 2 * image + memory
    if connection.execute(f"PRAGMA hard_heap_limit = {heap}").fetchone() != (heap,):
        raise RuntimeError("this SQLite has no limit of its memory")
    most = _space() + 2 * heap + (64 << 20)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))


def _space() -> int:
    """Bytes of address space that this process has."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 1 << 30
