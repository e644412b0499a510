"""The sandbox `sql` as an environment uses it, whatever database it is; `test_sql_postgres.py` runs this file again."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_gym.checks import same_changes
from tir_gym.errors import UsageError
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.sql import SqlSandbox

SHOP = {
    "schema": """
        CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, since TEXT DEFAULT CURRENT_TIMESTAMP);
        CREATE TABLE orders (
            id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE, total INTEGER
        );
        CREATE TABLE codes (code TEXT PRIMARY KEY, rate REAL);
        CREATE TABLE seats (line TEXT, number INTEGER, taken INTEGER, PRIMARY KEY (line, number));
        CREATE TABLE notes (text TEXT);
        CREATE VIEW names AS SELECT name FROM people;
    """,
    "rows": {
        "people": [(1, "Ann", "2020-01-01"), (2, "Bob", "2021-01-01")],
        "orders": [(1, 1, 50), (2, 1, 70), (3, 2, 20)],
        "codes": [("a", 0.5), ("b", 1.25)],
        "seats": [("x", 1, 0), ("x", 2, 1)],
        "notes": [("milk",), ("milk",), ("bread",)],
    },
}
QUICK = {"wall_seconds": 1.0, "cpu_seconds": 1.0}

Make = Callable[..., SqlSandbox]


@pytest.fixture
def options() -> dict[str, Any]:
    """What makes it the database that is tested."""
    return {}


@pytest.fixture
def make(options: dict[str, Any]) -> Iterator[Make]:
    made: list[SqlSandbox] = []

    def one(database: Any = SHOP, **more: Any) -> SqlSandbox:
        sandbox = make_sandbox("sql", database=database, **options, **more)
        assert isinstance(sandbox, SqlSandbox)
        made.append(sandbox)
        return sandbox

    yield one
    for sandbox in made:
        sandbox.close()


def query(sandbox: SqlSandbox, sql: str) -> list[list[Any]]:
    result = sandbox.call(ToolCall("query", {"sql": sql}))
    assert result.ok, result
    rows: list[list[Any]] = result.content["rows"]
    return rows


def execute(sandbox: SqlSandbox, sql: str) -> dict[str, Any]:
    result = sandbox.call(ToolCall("execute", {"sql": sql}))
    assert result.ok, result
    content: dict[str, Any] = result.content
    return content


def failure(sandbox: SqlSandbox, sql: str, tool: str = "execute") -> ToolResult:
    result = sandbox.call(ToolCall(tool, {"sql": sql}))
    assert not result.ok, result
    return result


# The tools


def test_a_query_gives_columns_and_rows(make: Make) -> None:
    result = make().call(ToolCall("query", {"sql": "SELECT id, name AS who FROM people ORDER BY id DESC"}))
    assert result.content == {"columns": ["id", "who"], "rows": [[2, "Bob"], [1, "Ann"]], "truncated": False}


def test_values_are_plain_json_and_the_same_everywhere(make: Make) -> None:
    (row,) = query(make(), "SELECT 7, 1.25, 'a', NULL, 3 > 2, SUM(total), ROUND(AVG(total), 1) FROM orders")
    assert row == [7, 1.25, "a", None, 1, 140, 46.7]
    assert [type(value) for value in row] == [int, float, str, type(None), int, int, float]


def test_a_write_tells_how_many_rows_it_changed(make: Make) -> None:
    sandbox = make()
    assert execute(sandbox, "UPDATE orders SET total = total + 1 WHERE person = 1") == {"rows_changed": 2}
    assert execute(sandbox, "DELETE FROM people WHERE id = 1") == {"rows_changed": 1}, "its orders go by themselves"
    assert query(sandbox, "SELECT COUNT(*) FROM orders") == [[1]]
    assert execute(sandbox, "DELETE FROM people WHERE id = 99") == {"rows_changed": 0}
    returned = execute(sandbox, "INSERT INTO people (name) VALUES ('Cy'), ('Di') RETURNING id, name, since")
    assert returned == {
        "rows_changed": 2,
        "columns": ["id", "name", "since"],
        "rows": [[3, "Cy", "2025-01-06 09:00:00"], [4, "Di", "2025-01-06 09:00:00"]],
        "truncated": False,
    }


def test_generated_ids_follow_from_what_there_is(make: Make) -> None:
    sandbox = make()
    start = sandbox.snapshot()
    add = "INSERT INTO people (name) VALUES ('Cy') RETURNING id"
    assert execute(sandbox, add)["rows"] == [[3]]
    assert failure(sandbox, add).error_kind == "raised"
    assert execute(sandbox, "INSERT INTO people (name) VALUES ('Di') RETURNING id")["rows"] == [[4]]
    sandbox.restore(start)
    assert execute(sandbox, add)["rows"] == [[3]]


def test_roles_decide_which_tools_there_are(make: Make) -> None:
    reader = make(role="read")
    assert [spec.name for spec in reader.specs] == ["query", "list_tables", "describe_table"]
    assert [spec.name for spec in make().specs] == ["query", "execute", "list_tables", "describe_table"]
    assert failure(reader, "DELETE FROM notes").error_kind == "unknown_tool"


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM notes",
        "INSERT INTO notes VALUES ('x')",
        "UPDATE notes SET text = 'x'",
        "CREATE TABLE more (a INTEGER)",
        "DROP TABLE notes",
    ],
)
def test_a_query_cannot_write(make: Make, sql: str) -> None:
    sandbox = make()
    result = failure(sandbox, sql, tool="query")
    assert (result.error_kind, result.error) == ("refused", "writing is not allowed here")
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[3]]
    assert sandbox.diff() == {}


def test_tables_are_listed_and_described(make: Make) -> None:
    sandbox = make()
    names = ["codes", "names", "notes", "orders", "people", "seats"]
    assert sandbox.call(ToolCall("list_tables")).content == {"tables": names}
    assert sandbox.call(ToolCall("describe_table", {"table": "orders"})).content == {
        "table": "orders",
        "columns": [
            {"name": "id", "type": "integer", "nullable": False, "primary_key": True},
            {"name": "person", "type": "integer", "nullable": False, "primary_key": False},
            {"name": "total", "type": "integer", "nullable": True, "primary_key": False},
        ],
        "foreign_keys": [{"columns": ["person"], "table": "people", "references": ["id"]}],
    }
    unknown = sandbox.call(ToolCall("describe_table", {"table": "none"}))
    assert unknown.error == f"there is no table 'none'; the tables are: {', '.join(names)}"


def test_what_is_defined_is_there_for_all_tools(make: Make) -> None:
    sandbox = make()
    start = sandbox.snapshot()
    execute(sandbox, "CREATE TABLE more (id INTEGER PRIMARY KEY, a TEXT)")
    execute(sandbox, "INSERT INTO more VALUES (1, 'x')")
    execute(sandbox, "CREATE VIEW wide AS SELECT a FROM more")
    assert "more" in sandbox.call(ToolCall("list_tables")).content["tables"]
    described = sandbox.call(ToolCall("describe_table", {"table": "more"})).content
    assert [column["type"] for column in described["columns"]] == ["integer", "text"]
    diff = sandbox.diff()
    assert set(diff) == {"(tables)", "(views)", "more"}
    assert diff["(tables)"]["more"]["before"] is None
    sandbox.restore(start)
    assert "more" not in sandbox.call(ToolCall("list_tables")).content["tables"]
    assert sandbox.diff() == {}


def test_the_agent_s_mistakes_are_data(make: Make) -> None:
    sandbox = make()
    assert failure(sandbox, "SELEC 1").error_kind in ("raised", "refused")
    assert failure(sandbox, "SELECT * FROM nowhere").error_kind == "raised"
    assert failure(sandbox, "INSERT INTO people (id, name) VALUES (1, 'x')").error_kind == "raised"
    assert failure(sandbox, "SELECT '\ud800'").error_kind == "raised"
    assert failure(sandbox, "SELECT 1\0").error_kind in ("raised", "refused")
    assert sandbox.call(ToolCall("query", {"text": "x"})).error_kind == "invalid_arguments"
    assert sandbox.call(ToolCall("drop", {})).error_kind == "unknown_tool"
    assert sandbox.diff() == {}
    assert query(sandbox, "SELECT 1") == [[1]]


def test_one_statement_at_a_time(make: Make) -> None:
    sandbox = make()
    for sql in ("SELECT 1; SELECT 2", "DELETE FROM notes; DELETE FROM codes", "SELECT 1; COMMIT"):
        result = failure(sandbox, sql)
        assert (result.error_kind, result.error) == ("refused", "send one statement at a time")
    assert sandbox.diff() == {}
    assert query(sandbox, "SELECT ';' -- ;\n;") == [[";"]]
    assert query(sandbox, " SELECT 2; -- and no more\n ") == [[2]]


@pytest.mark.parametrize("sql", ["COMMIT", "ROLLBACK", "BEGIN", "END", "SAVEPOINT s0", "RELEASE s0", "ROLLBACK TO s0"])
def test_the_transaction_is_not_the_agent_s(make: Make, sql: str) -> None:
    sandbox = make()
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    assert failure(sandbox, sql).error_kind == "refused"
    assert sandbox.digest() == before


# Limits


def test_what_is_told_of_tables_is_bounded_like_results(make: Make) -> None:
    sandbox = make(limits={"output": 200})
    wide = ", ".join(f"column_{number} INTEGER" for number in range(9))
    for number in range(30):
        execute(sandbox, f"CREATE TABLE table_{number} ({wide})")
    result = sandbox.call(ToolCall("list_tables", {}))
    assert result.error_kind == "output_limit"
    assert 0 < len(result.content["tables"]) < 36
    assert len(json.dumps(result.content)) <= 200
    result = sandbox.call(ToolCall("describe_table", {"table": "table_7"}))
    assert result.error_kind == "output_limit"
    assert [column["name"] for column in result.content["columns"]] == ["column_0"]


def test_rows_are_cut_off_and_the_result_says_so(make: Make) -> None:
    sandbox = make(rows=2)
    result = sandbox.call(ToolCall("query", {"sql": "SELECT text FROM notes ORDER BY text"}))
    assert result.content == {"columns": ["text"], "rows": [["bread"], ["milk"]], "truncated": True}
    assert len(query(sandbox, "SELECT id FROM people")) == 2
    assert execute(sandbox, "DELETE FROM notes RETURNING text")["rows_changed"] == 3


def test_a_result_that_is_too_large_is_cut_off_with_an_error(make: Make) -> None:
    sandbox = make(limits={"output": 4096})
    wide = "SELECT o.id, '" + "y" * 300 + "' FROM orders o, orders a, orders b, orders c ORDER BY 1"
    result = failure(sandbox, wide, tool="query")
    assert result.error_kind == "output_limit"
    assert result.content["truncated"] is True
    assert 5 < len(result.content["rows"]) < 15
    assert query(sandbox, "SELECT 1") == [[1]]


ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"
CROSS = "SELECT COUNT(*) FROM orders " + ", ".join(f"CROSS JOIN orders o{i}" for i in range(18)).replace(
    ", CROSS", " CROSS"
)


@pytest.mark.parametrize("sql", [ENDLESS, CROSS])
def test_an_endless_query_is_stopped(make: Make, sql: str) -> None:
    sandbox = make(limits=QUICK)
    execute(sandbox, "DELETE FROM notes")
    before = sandbox.digest()
    assert failure(sandbox, sql, tool="query").error_kind in ("time_limit", "cpu_limit")
    assert sandbox.digest() == before
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]


def test_an_endless_write_is_stopped_and_changes_nothing(make: Make) -> None:
    sandbox = make(limits=QUICK)
    execute(sandbox, "INSERT INTO notes VALUES ('kept')")
    before = sandbox.digest()
    assert failure(sandbox, f"UPDATE orders SET total = ({ENDLESS})").error_kind in ("time_limit", "cpu_limit")
    assert sandbox.digest() == before
    execute(sandbox, "INSERT INTO notes VALUES ('later')")
    assert query(sandbox, "SELECT text FROM notes WHERE text <> 'milk' ORDER BY 1") == [["bread"], ["kept"], ["later"]]


def test_a_database_cannot_grow_beyond_its_limit(make: Make) -> None:
    sandbox = make(limits={"disk": 2 << 20, "wall_seconds": 10})
    execute(sandbox, "INSERT INTO notes VALUES ('kept')")
    many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
    grow = f"INSERT INTO notes {many}SELECT '{'z' * 500}' FROM n"
    assert failure(sandbox, grow).error_kind == "disk_limit"
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[4]]
    assert set(sandbox.diff()) == {"notes"}


# State


def test_nothing_is_held_before_the_first_call_nor_back_at_the_start(make: Make) -> None:
    sandbox = make()
    start = sandbox.snapshot()
    assert sandbox.diff() == {}
    digest = sandbox.digest()
    twin = sandbox.fork()
    assert sandbox._session is None
    assert twin._session is None
    execute(sandbox, "DELETE FROM notes")
    assert sandbox._session is not None
    sandbox.restore(start)
    assert sandbox._session is None
    assert sandbox.digest() == digest
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[3]]


WRITES = st.sampled_from(
    [
        "INSERT INTO people (name) VALUES ('p' || (SELECT COUNT(*) FROM people))",
        "INSERT INTO orders (person, total) SELECT MIN(id), 10 FROM people HAVING COUNT(*) > 0",
        "DELETE FROM people WHERE id = (SELECT MAX(id) FROM people)",
        "UPDATE orders SET total = total + 1",
        "DELETE FROM orders WHERE id = (SELECT MIN(id) FROM orders)",
        "INSERT INTO notes SELECT text FROM notes",
        "DELETE FROM notes WHERE text = 'milk'",
        "UPDATE codes SET rate = rate * 2 WHERE code = 'a'",
        "INSERT INTO people (id, name) VALUES (1, 'fails')",
    ]
)


@settings(max_examples=12)
@given(steps=st.lists(st.one_of(WRITES, st.just("picture"), st.integers(0, 9), st.just("fork")), max_size=14))
def test_pictures_are_exact_however_often_and_in_whatever_order(steps: list[Any]) -> None:
    check_pictures(steps, {})


def check_pictures(steps: list[Any], options: dict[str, Any]) -> None:
    sandbox = SqlSandbox(SHOP, **options)
    try:
        pictures = [(sandbox.snapshot(), sandbox.digest(), sandbox.diff())]
        for step in steps:
            if isinstance(step, int):
                snapshot, digest, diff = pictures[step % len(pictures)]
                sandbox.restore(snapshot)
                assert (sandbox.digest(), sandbox.diff()) == (digest, diff)
            elif step == "picture":
                pictures.append((sandbox.snapshot(), sandbox.digest(), sandbox.diff()))
            elif step == "fork":
                twin = sandbox.fork()
                assert (twin.digest(), twin.diff()) == (sandbox.digest(), sandbox.diff())
                sandbox.call(ToolCall("execute", {"sql": "DELETE FROM seats"}))
                assert "seats" not in twin.diff()
                sandbox.close()
                sandbox = twin
            else:
                sandbox.call(ToolCall("execute", {"sql": step}))
        for snapshot, digest, diff in reversed(pictures):
            sandbox.restore(snapshot)
            assert (sandbox.digest(), sandbox.diff()) == (digest, diff)
    finally:
        sandbox.close()


def test_a_digest_is_of_the_content_alone(make: Make) -> None:
    one, other = make(), make()
    start = one.digest()
    for name in ("x", "y"):
        execute(one, f"INSERT INTO notes VALUES ('{name}')")
    for name in ("y", "x"):
        execute(other, f"INSERT INTO notes VALUES ('{name}')")
    assert one.digest() == other.digest() != start
    execute(one, "DELETE FROM notes WHERE text IN ('x', 'y')")
    assert one.digest() == start
    assert one.diff() == {}
    execute(one, "UPDATE orders SET total = 51 WHERE id = 1")
    execute(one, "UPDATE orders SET total = 50 WHERE id = 1")
    assert (one.digest(), one.diff()) == (start, {})
    execute(one, "CREATE TABLE more (a INTEGER)")
    assert one.digest() != start


def test_a_diff_tells_rows_by_their_keys(make: Make) -> None:
    sandbox = make()
    execute(sandbox, "UPDATE orders SET total = 51 WHERE id = 1")
    execute(sandbox, "INSERT INTO orders (person, total) VALUES (2, 9)")
    execute(sandbox, "DELETE FROM codes WHERE code = 'b'")
    execute(sandbox, "UPDATE seats SET taken = 1 WHERE number = 1")
    execute(sandbox, "DELETE FROM notes WHERE text = 'milk'")
    diff = sandbox.diff()
    assert diff["orders"] == {
        "1": {"before": {"id": "1", "person": 1, "total": 50}, "after": {"id": "1", "person": 1, "total": 51}},
        "4": {"before": None, "after": {"id": "4", "person": 2, "total": 9}},
    }
    assert diff["codes"] == {'["b"]': {"before": {"code": "b", "rate": 1.25}, "after": None}}
    assert diff["seats"] == {
        '["x",1]': {
            "before": {"line": "x", "number": 1, "taken": 0},
            "after": {"line": "x", "number": 1, "taken": 1},
        }
    }
    assert list(diff["notes"].values()) == [{"before": {"text": "milk"}, "after": None}] * 2


def test_two_ways_to_the_same_state_are_the_same_generated_ids_aside(make: Make) -> None:
    one, other, third = make(), make(), make()
    for name in ("Cy", "Di"):
        execute(one, f"INSERT INTO people (name) VALUES ('{name}')")
    for name in ("Di", "Cy"):
        execute(other, f"INSERT INTO people (name) VALUES ('{name}')")
    execute(third, "INSERT INTO people (name) VALUES ('Cy'), ('Ed')")
    assert one.diff() != other.diff()
    assert same_changes(one.diff(), other.diff())
    assert not same_changes(one.diff(), third.diff())
    execute(one, "INSERT INTO codes VALUES ('c', 1.0)")
    execute(other, "INSERT INTO codes VALUES ('d', 1.0)")
    assert not same_changes(one.diff(), other.diff()), "a key that was chosen counts"


def test_many_changes_are_told_by_a_digest(make: Make) -> None:
    many = {
        "schema": "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER)",
        "rows": {"t": [(i, i) for i in range(9000)]},
    }
    one, other = make(many), make(many)
    execute(one, "UPDATE t SET v = v + 1")
    execute(other, "UPDATE t SET v = v + 2")
    assert set(one.diff()["t"]) == {"(rows)"}
    assert not same_changes(one.diff(), other.diff())
    execute(other, "UPDATE t SET v = v - 1")
    assert same_changes(one.diff(), other.diff())


def test_chance_comes_from_the_seed(make: Make) -> None:
    def play(seed: int) -> list[Any]:
        sandbox = make(seed=seed)
        values = [query(sandbox, "SELECT RANDOM()")]
        execute(sandbox, "INSERT INTO orders (person, total) VALUES (1, ABS(RANDOM() * 1000))")
        start = sandbox.snapshot()
        values.append(query(sandbox, "SELECT total FROM orders WHERE id = 4"))
        execute(sandbox, "DELETE FROM notes")
        sandbox.restore(start)
        sandbox.close()
        return [*values, query(sandbox, "SELECT total FROM orders WHERE id = 4")]

    first = play(1)
    assert first == play(1)
    assert first[1] == first[2]
    assert first[0] != play(2)[0]


def test_environments_do_not_see_each_other(make: Make) -> None:
    one, other = make(), make()
    execute(one, "DELETE FROM notes")
    execute(one, "UPDATE orders SET total = 0")
    assert query(other, "SELECT COUNT(*) FROM notes") == [[3]]
    execute(other, "UPDATE orders SET total = 1")
    assert query(one, "SELECT MAX(total) FROM orders") == [[0]]
    one.close()
    third = make()
    assert query(third, "SELECT SUM(total) FROM orders") == [[140]]
    assert third.diff() == {}


def test_a_closed_sandbox_may_be_used_again(make: Make) -> None:
    sandbox = make()
    execute(sandbox, "DELETE FROM notes")
    sandbox.close()
    sandbox.close()
    assert query(sandbox, "SELECT COUNT(*) FROM notes") == [[0]]


def test_asynchronous_callers(make: Make) -> None:
    async def play() -> Any:
        async with make() as sandbox:
            return await sandbox.acall(ToolCall("query", {"sql": "SELECT COUNT(*) FROM notes"}))

    assert asyncio.run(play()).content["rows"] == [[3]]


def test_what_cannot_be_is_said_at_once() -> None:
    with pytest.raises(UsageError, match="role='admin'"):
        SqlSandbox(role="admin")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="syntax error"):
        SqlSandbox({"schema": "CREATE TABLE ("})
    with pytest.raises(UsageError, match="no SQLite database"):
        SqlSandbox(random.Random(0).randbytes(5000))
    with pytest.raises(UsageError, match="give bytes, a path"):
        SqlSandbox({"tables": {}})
    with pytest.raises(UsageError, match="has no option 'colour'"):
        make_sandbox("sql", colour="red")
