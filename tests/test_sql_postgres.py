"""The sandbox `sql` and `tir_gym/SQL-v0` on a real PostgreSQL server.

`$TIR_GYM_POSTGRES_URL` names a server whose user may create databases and roles, `postgresql://user@host/name`; all is
skipped without it. `tests/postgres.sh` starts a server for one run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from test_sql_sandbox import *  # noqa: F403
from test_sql_sandbox import SHOP, check_pictures, execute, failure, query

from tir_gym.agents.oracle import OracleAgent
from tir_gym.envs.sql import SqlEnv
from tir_gym.episode import play_episode
from tir_gym.errors import SandboxUnavailable, UsageError
from tir_gym.records import Trace
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.sql import SqlSandbox

URL = os.environ.get("TIR_GYM_POSTGRES_URL", "")

pytestmark = pytest.mark.skipif(not URL, reason="TIR_GYM_POSTGRES_URL is not set; see tests/postgres.sh")


@pytest.fixture
def options() -> dict[str, Any]:
    return {"url": URL}


@pytest.fixture
def sandbox() -> Iterator[SqlSandbox]:
    with SqlSandbox(SHOP, url=URL, limits=Limits(wall_seconds=1.0)) as made:
        yield made


@pytest.fixture
def admin() -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(URL, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


STEPS = [
    ["INSERT INTO people (name) VALUES ('p')", "picture", "UPDATE orders SET total = total + 1", 0, 1, "fork", 1],
    ["picture", "DELETE FROM people WHERE id = 1", "picture", 1, "INSERT INTO notes SELECT text FROM notes", 2, 0],
]


@pytest.mark.parametrize("steps", STEPS)
def test_pictures_are_exact_however_often_and_in_whatever_order(steps: list[Any]) -> None:
    check_pictures(steps, {"url": URL})


def test_both_databases_say_the_same() -> None:
    with SqlSandbox(SHOP) as lite, SqlSandbox(SHOP, url=URL) as server:
        assert lite.digest() == server.digest()
        for sql in (
            "INSERT INTO people (name) VALUES ('Cy'), ('Di') RETURNING *",
            "DELETE FROM people WHERE id = 1",
            "UPDATE codes SET rate = rate / 3",
            "INSERT INTO seats VALUES ('y', 1, 0)",
            "DELETE FROM notes WHERE text = 'milk'",
            "INSERT INTO orders (person, total) SELECT id, 5 FROM people ORDER BY id",
        ):
            assert execute(lite, sql) == execute(server, sql)
            assert lite.diff() == server.diff()
            assert lite.digest() == server.digest()
        for sql in (
            "SELECT name FROM people WHERE name LIKE 'c%'",
            "SELECT name FROM names ORDER BY name",
            "SELECT AVG(total), COUNT(*), 7 / 2, 7.0 / 2 FROM orders",
            "SELECT id, SUM(total) OVER (ORDER BY id) FROM orders ORDER BY id",
        ):
            assert query(lite, sql) == query(server, sql)


REFUSED = [
    "SET statement_timeout = 0",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET ROLE",
    "SELECT set_config('statement_timeout', '0', false)",
    "SELECT \"set_config\"('statement_timeout', '0', false)",
    "SELECT U&\"\\0073et_config\"('statement_timeout', '0', false)",
    "SELECT current_setting('data_directory')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_catalog.pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_sleep(100)",
    "SELECT * FROM pg_authid",
    "SELECT query_to_xml('select 1', true, true, '')",
    "SELECT lo_import('/etc/passwd')",
    "COPY people TO PROGRAM 'id > /tmp/pwned'",
    "COPY people FROM '/etc/passwd'",
    "COPY people TO STDOUT",
    "DO $$ BEGIN COMMIT; END $$",
    "CALL f()",
    "PREPARE TRANSACTION 'x'",
    "LISTEN x",
    "LOCK TABLE people",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION dblink",
    "CREATE ROLE x SUPERUSER",
    "CREATE DATABASE x",
    "CREATE TEMP TABLE x (a int)",
    "CREATE TABLE pg_temp.x (a int)",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER SYSTEM SET fsync = off",
    "ALTER TABLE people OWNER TO tests",
    "DROP DATABASE postgres",
    "DROP SCHEMA public CASCADE",
    "GRANT ALL ON people TO PUBLIC",
    "TRUNCATE people",
    "VACUUM",
    "EXPLAIN ANALYZE DELETE FROM people",
    "SELECT 1; COMMIT",
    "/* */ COMMIT",
    "",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_what_reaches_outside_the_database_is_refused(sandbox: SqlSandbox, sql: str) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    assert failure(sandbox, sql).error_kind in ("refused", "raised")
    assert failure(sandbox, sql, tool="query").error_kind in ("refused", "raised")
    assert sandbox.digest() == before
    assert not Path("/tmp/pwned").exists()


def test_the_role_may_not_either(sandbox: SqlSandbox) -> None:
    """What the filter refuses, past the filter: the server says no, or the host's clock does."""
    query(sandbox, "SELECT 1")
    session: Any = sandbox._session
    pg = session._connection.pgconn
    for sql in (
        "SELECT pg_read_file('/etc/passwd')",
        "COPY people TO PROGRAM 'id'",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT query_to_xml('select 1', true, true, '')",
        "CREATE TEMP TABLE x (a int)",
        "CREATE ROLE x",
        "CREATE SCHEMA x",
    ):
        pg.exec_(b"SAVEPOINT probe")
        result = pg.exec_(sql.encode())
        assert result.error_message, sql
        assert b"permission denied" in result.error_message or b"must be" in result.error_message, result.error_message
        pg.exec_(b"ROLLBACK TO probe")


def test_the_host_ends_what_the_server_would_let_run(sandbox: SqlSandbox) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    session: Any = sandbox._session
    checked = session._begin
    session._begin = lambda *given: (checked(*given), session._command("SET LOCAL statement_timeout = 0"))[0]
    began = time.monotonic()
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
    assert failure(sandbox, endless).error_kind == "time_limit"
    assert time.monotonic() - began < 10
    assert sandbox.digest() == before


def test_a_huge_value_stays_on_the_server(sandbox: SqlSandbox) -> None:
    for sql in (
        "SELECT repeat('x', 50000000)",
        "SELECT repeat('x', 30000) FROM generate_series(1, 1000)",
        "INSERT INTO notes SELECT repeat('x', 3000000) RETURNING text",
    ):
        assert failure(sandbox, sql).error_kind in ("output_limit", "time_limit")
    assert sandbox.diff() == {}


def test_databases_are_used_again_and_are_the_template_again() -> None:
    with SqlSandbox(SHOP, url=URL) as one:
        execute(one, "CREATE TABLE secret (a INTEGER)")
        execute(one, "INSERT INTO people (name) VALUES ('Cy')")
        session: Any = one._session
        database = session._place.database
    with SqlSandbox(SHOP, url=URL) as other:
        assert failure(other, "SELECT * FROM secret").error_kind == "raised"
        assert execute(other, "INSERT INTO people (name) VALUES ('Di') RETURNING id")["rows"] == [[3]]
        session = other._session
        assert session._place.database == database


def test_an_ended_connection_loses_the_call_and_nothing_else(sandbox: SqlSandbox, admin: sqlalchemy.Connection) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    session: Any = sandbox._session
    admin.execute(sqlalchemy.text("SELECT pg_terminate_backend(:pid)"), {"pid": session._backend})
    assert failure(sandbox, "DELETE FROM codes").error_kind == "died"
    assert sandbox.digest() == before
    assert execute(sandbox, "DELETE FROM codes") == {"rows_changed": 2}


def test_a_forked_host_gets_databases_of_its_own(sandbox: SqlSandbox) -> None:
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            execute(sandbox, "DELETE FROM codes")
            assert sandbox.digest() != before
            sandbox.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]


HOST = """
import os, sys
from tir_gym import ToolCall
from tir_gym.sandboxes.sql import SqlSandbox
sandbox = SqlSandbox({"schema": "CREATE TABLE t (a INTEGER)"}, url=sys.argv[1])
assert sandbox.call(ToolCall("execute", {"sql": "INSERT INTO t VALUES (1)"})).ok
print(sandbox._session._server._role, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("ending", ["ends", "killed"])
def test_nothing_stays_on_the_server(ending: str, admin: sqlalchemy.Connection) -> None:
    done = subprocess.run([sys.executable, "-c", HOST, URL, ending], capture_output=True, text=True, check=False)
    role = done.stdout.strip()
    assert role.startswith("tirgym_"), done.stderr
    made = sqlalchemy.text(
        "SELECT datname FROM pg_database WHERE datname LIKE :name "
        "UNION SELECT rolname FROM pg_roles WHERE rolname LIKE :name"
    )
    if ending == "killed":
        assert admin.execute(made, {"name": f"{role}%"}).fetchall(), "the control: there is something to remove"
        time.sleep(0.5)  # until the server has noticed
        subprocess.run([sys.executable, "-c", HOST, URL, "ends"], capture_output=True, check=True)
    assert admin.execute(made, {"name": f"{role}%"}).fetchall() == []


def test_a_server_that_cannot_be_reached_is_told_without_the_password() -> None:
    sandbox = SqlSandbox(SHOP, url="postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(SandboxUnavailable, match=r"no server at postgresql://me:\*\*\*@127\.0\.0\.1:1/none") as error:
        query(sandbox, "SELECT 1")
    assert error.value.kind == "server_missing"
    with pytest.raises(UsageError, match="only PostgreSQL"):
        query(SqlSandbox(SHOP, url="mysql://me@127.0.0.1/none"), "SELECT 1")


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_environment_works_unchanged(split: Any) -> None:
    with closing(SqlEnv(split=split)) as lite, closing(SqlEnv(split=split, url=URL)) as server:
        for number in range(12):
            task = f"{split}/{number}"
            assert lite.task_named(task).model_dump_json() == server.task_named(task).model_dump_json()
            ours = play_episode(lite, OracleAgent(), task=task).trace
            theirs = play_episode(server, OracleAgent(), task=task).trace
            assert theirs.success is True
            assert rows_of(ours) == rows_of(theirs)
            assert [turn.reward for turn in ours.turns] == [turn.reward for turn in theirs.turns]


def rows_of(trace: Trace) -> list[Any]:
    """What calls gave; columns without a name of their own are named otherwise elsewhere."""
    contents = [result.content for turn in trace.turns for result in turn.results]
    return [content.get("rows", content) for content in contents]
