"""SQLite in slots: what hostile SQL cannot do, what happens to processes, and where databases come from."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sql_sandbox import SHOP, execute, failure, query

from tir_gym.records import ToolCall
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.sql import SqlSandbox
from tir_gym.sandboxes.sql import sqlite as slots


@pytest.fixture
def sandbox() -> Iterator[SqlSandbox]:
    with SqlSandbox(SHOP, limits=Limits(wall_seconds=1.0, cpu_seconds=1.0, memory=64 * MIB)) as made:
        yield made


REFUSED = [
    "ATTACH ':memory:' AS more",
    "ATTACH '/etc/passwd' AS more",
    "DETACH main",
    "PRAGMA writable_schema = 1",
    "PRAGMA user_version = 3",
    "PRAGMA hard_heap_limit = 0",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA temp_store_directory = '/tmp'",
    "PRAGMA query_only = 0",
    "PRAGMA database_list",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT last_insert_rowid()",
    "SELECT changes()",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "CREATE VIRTUAL TABLE v USING fts5 (a)",
    "CREATE VIRTUAL TABLE v USING rtree (a, b, c)",
    "CREATE TEMP TABLE t (a)",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE TRIGGER t AFTER INSERT ON notes BEGIN SELECT 1; END",
    "CREATE TABLE sqlite_x (a)",
    "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, '')",
    "UPDATE sqlite_schema SET sql = ''",
    "DROP TABLE sqlite_master",
    "VACUUM",
    "VACUUM INTO '/tmp/x.db'",
    "ANALYZE",
    "SELECT * FROM pragma_database_list",
]


@pytest.mark.parametrize("tool", ["execute", "query"])
@pytest.mark.parametrize("sql", REFUSED)
def test_what_reaches_outside_the_database_is_refused(sandbox: SqlSandbox, sql: str, tool: str) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    assert failure(sandbox, sql, tool).error_kind in ("refused", "raised")
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM people") == [[2]]


@pytest.mark.parametrize("sql", ["PRAGMA table_info(people)", "SELECT name FROM pragma_table_info('people')"])
def test_reading_the_schema_is_no_sin(sandbox: SqlSandbox, sql: str) -> None:
    assert "since" in str(query(sandbox, sql))
    assert query(sandbox, "SELECT value FROM json_each('[7]')") == [[7]]
    assert query(sandbox, "SELECT COUNT(*) FROM sqlite_master WHERE type = 'view'") == [[1]]


def test_nothing_was_written_and_the_refused_would_work_elsewhere(tmp_path: Path) -> None:
    """The control: without guards the same statements do what they say."""
    open_ = sqlite3.connect(":memory:", isolation_level=None)
    open_.execute(f"ATTACH '{tmp_path / 'a.db'}' AS more")
    open_.execute("CREATE TABLE more.t (a)")
    open_.execute(f"VACUUM INTO '{tmp_path / 'b.db'}'")
    assert (tmp_path / "a.db").stat().st_size > 0
    assert (tmp_path / "b.db").exists()
    with SqlSandbox() as sandbox:
        for name in ("c.db", "d.db"):
            failure(sandbox, f"ATTACH '{tmp_path / name}' AS more")
            failure(sandbox, f"VACUUM INTO '{tmp_path / name}'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "b.db"]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT OR ROLLBACK INTO people (id, name) VALUES (1, 'x')",
        "INSERT OR FAIL INTO people (id, name) VALUES (8, 'y'), (1, 'x')",
        "UPDATE OR ROLLBACK people SET id = 1",
    ],
)
def test_conflict_clauses_cannot_break_out_of_the_transaction(sandbox: SqlSandbox, sql: str) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    assert failure(sandbox, sql).error_kind == "raised"
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]


BOMBS = {
    "formatting": "SELECT printf('%.*c', 500000000, 'x')",
    "hex": "SELECT length(hex(zeroblob(1000000000)))",
    "replace": "SELECT length(replace(hex(zeroblob(4000000)), '0', hex(zeroblob(4000000))))",
    "like": f"SELECT '{'a' * 20000}' LIKE '{'%a' * 400}%b'",
    "glob": f"SELECT '{'a' * 50000}' GLOB '{'*a' * 450}*b'",
    "cross join": f"SELECT COUNT(*) FROM people{', people' * 40}",
    "recursion": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n",
    "depth": f"SELECT {'(' * 500}1{')' * 500}",
    "compound": " UNION ALL ".join(["SELECT 1"] * 400),
    "columns": f"SELECT {', '.join(['1'] * 3000)}",
    "sort": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT hex(zeroblob(9999)) || i FROM n "
    "ORDER BY 1",
    "group_concat": "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT group_concat(hex(zeroblob(9999))) FROM n",
    "json": f"SELECT json_valid('{'[' * 100000}')",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_in_time_and_leave_the_state(sandbox: SqlSandbox, name: str) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    began = time.monotonic()
    result = sandbox.call(ToolCall("query", {"sql": BOMBS[name]}))
    assert time.monotonic() - began < 10, "seconds, however busy the machine: the limit is one"
    assert result.error_kind in (None, "time_limit", "cpu_limit", "memory_limit", "raised", "died"), result
    if name in ("formatting", "cross join", "recursion"):
        assert result.error_kind in ("time_limit", "cpu_limit")
    if name == "sort":
        assert result.error_kind in ("memory_limit", "time_limit", "cpu_limit")
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]


def test_memory_is_the_database_s_own() -> None:
    many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) "
    large = f"{many}SELECT COUNT(*) FROM (SELECT zeroblob(7000000) || i AS b FROM n ORDER BY b LIMIT 30)"
    with SqlSandbox(SHOP, limits=Limits(wall_seconds=60, cpu_seconds=30, memory=64 * MIB)) as small:
        assert failure(small, large, tool="query").error_kind == "memory_limit"
        assert query(small, "SELECT 1") == [[1]]
    with SqlSandbox(SHOP, limits=Limits(wall_seconds=60, cpu_seconds=30, memory=1024 * MIB)) as roomy:
        assert query(roomy, large) == [[30]], "the control: with more memory it works"


def test_odd_values_come_as_json(sandbox: SqlSandbox) -> None:
    rows = query(sandbox, "SELECT x'00FF', 9e999, CAST(x'FF41' AS TEXT), -9223372036854775808, char(0, 55296)")
    assert rows == [["x'00FF'", float("inf"), "\ufffdA", -(2**63), rows[0][4]]]


def test_the_clock_stands_still() -> None:
    with SqlSandbox(SHOP, now="2024-02-29 12:30:00") as sandbox:
        assert query(
            sandbox,
            "SELECT CURRENT_TIMESTAMP, CURRENT_DATE, CURRENT_TIME",
        ) == [["2024-02-29 12:30:00", "2024-02-29", "12:30:00"]]
        assert query(
            sandbox,
            "SELECT datetime('now'), date('now', '+1 day'), strftime('%Y'), time(), date('2020-01-31', '+1 month')",
        ) == [
            ["2024-02-29 12:30:00", "2024-03-01", "2024", "12:30:00", "2020-03-02"],
        ]


# Processes


def processes_of(sandbox: SqlSandbox) -> tuple[int, list[int]]:
    """The slot's program on this host, and the processes it has forked."""
    session: Any = sandbox._session
    pid = session._slot._slot.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return pid, [int(child) for child in children]


def test_a_killed_process_loses_the_call_and_nothing_else(sandbox: SqlSandbox) -> None:
    execute(sandbox, "DELETE FROM notes")
    execute(sandbox, "UPDATE orders SET total = total + 1")
    before = sandbox.digest()
    for child in processes_of(sandbox)[1]:
        os.kill(child, signal.SIGKILL)
    lost = sandbox.call(ToolCall("execute", {"sql": "DELETE FROM codes"}))
    assert lost.error_kind in ("memory_limit", "died"), "which a killed process looks like"
    assert sandbox.digest() == before
    assert execute(sandbox, "DELETE FROM codes") == {"rows_changed": 2}


def test_a_killed_slot_is_replaced(sandbox: SqlSandbox) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    slot, children = processes_of(sandbox)
    os.kill(slot, signal.SIGKILL)
    wait_until(lambda: not any(map(lives, children)))
    assert query(sandbox, "SELECT COUNT(*) FROM codes") == [[2]]
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]
    with SqlSandbox(SHOP, limits=sandbox.limits) as other:
        assert query(other, "SELECT COUNT(*) FROM notes") == [[3]]


def test_a_sandbox_that_is_forgotten_gives_its_process_back() -> None:
    sandbox = SqlSandbox(SHOP, limits=Limits(wall_seconds=7.0))
    query(sandbox, "SELECT 1")
    session: Any = sandbox._session
    slot, pid = session._slot, session._pid
    held = slot.sessions
    del session, sandbox
    gc.collect()
    assert slot.sessions == held - 1
    assert pid


def test_an_interrupted_wait_leaves_nothing_behind(sandbox: SqlSandbox) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()

    def interrupt(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            sandbox.call(ToolCall("query", {"sql": BOMBS["recursion"]}))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]


def test_slots_without_environments_are_few() -> None:
    for number in range(slots.IDLE_SLOTS + 3):
        with SqlSandbox({"schema": f"CREATE TABLE t{number} (a)"}) as sandbox:
            query(sandbox, "SELECT 1")
    assert len([slot for slot in slots._slots._slots.values() if slot.sessions == 0]) <= slots.IDLE_SLOTS


def test_a_forked_host_gets_slots_of_its_own(sandbox: SqlSandbox) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            execute(sandbox, "DELETE FROM codes")
            assert sandbox.digest() != before
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sandbox.digest() == before


HOST = """
import sys, time
from tir_gym import ToolCall
from tir_gym.sandboxes.sql import SqlSandbox
sandboxes = [SqlSandbox({"schema": f"CREATE TABLE t{i % 2} (a)"}) for i in range(4)]
for sandbox in sandboxes:
    assert sandbox.call(ToolCall("execute", {"sql": "CREATE TABLE u (a)"})).ok
print(*{sandbox._session._slot._slot.pid for sandbox in sandboxes}, flush=True)
ENDING
"""


@pytest.mark.parametrize(
    "ending", ["time.sleep(60)", "raise SystemExit(3)", "raise RuntimeError('bug')", "import os; os._exit(1)"]
)
def test_no_process_outlives_its_host(ending: str) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.replace("ENDING", ending)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert host.stdout is not None
    slots_of_host = [int(pid) for pid in host.stdout.readline().split()]
    assert len(slots_of_host) == 2
    if "sleep" in ending:
        children = [
            Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split() for pid in slots_of_host
        ]
        slots_of_host += [int(child) for found in children for child in found]
        host.kill()
    host.wait()
    host.stdout.close()
    wait_until(lambda: not any(lives(pid) for pid in slots_of_host))


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_threads_may_share_the_slots() -> None:
    failures: list[BaseException] = []

    def play(number: int) -> None:
        try:
            for turn in range(5):
                with SqlSandbox(SHOP) as sandbox:
                    execute(sandbox, f"UPDATE orders SET total = {number * 100 + turn}")
                    assert query(sandbox, "SELECT DISTINCT total FROM orders") == [[number * 100 + turn]]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=play, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# Where databases come from


def test_a_database_may_be_a_file_or_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    file = sqlite3.connect(path)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("CREATE TABLE t (a INTEGER)")
    file.execute("INSERT INTO t VALUES (7)")
    file.commit()
    file.close()
    for source in (path, str(path), path.read_bytes()):
        with SqlSandbox(source) as sandbox:
            execute(sandbox, "UPDATE t SET a = a + 1")
            assert query(sandbox, "SELECT a FROM t") == [[8]]
    assert sqlite3.connect(path).execute("SELECT a FROM t").fetchall() == [(7,)]


def test_rows_may_be_records() -> None:
    rows = {"t": [{"a": 1, "b": "x"}, {"a": 2, "b": None}]}
    with SqlSandbox({"schema": "CREATE TABLE t (a INTEGER, b TEXT)", "rows": rows}) as sandbox:
        assert query(sandbox, "SELECT * FROM t") == [[1, "x"], [2, None]]


def test_an_empty_database_can_be_filled() -> None:
    with SqlSandbox() as sandbox:
        execute(sandbox, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
        execute(sandbox, "INSERT INTO t (a) VALUES ('x')")
        assert sandbox.diff()["t"] == {"1": {"before": None, "after": {"id": "1", "a": "x"}}}


def test_rolled_back_statements_leave_no_trace_for_the_next_environment() -> None:
    with SqlSandbox(SHOP) as one:
        execute(one, "INSERT INTO people (name) VALUES ('Cy')")
        execute(one, "CREATE TABLE secret (a)")
        session: Any = one._session
        pid = session._pid
    with SqlSandbox(SHOP) as other:
        assert query(other, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'secret'") == [[0]]
        assert query(other, "SELECT MAX(id) FROM people") == [[2]]
        session = other._session
        assert session._pid == pid, "the process serves again"
