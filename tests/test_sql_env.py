"""`tir_gym/SQL-v0`: tasks, golds, what counts as the same SQL, and what cheats get."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from tir_gym.agents.oracle import OracleAgent
from tir_gym.agents.probing import PROBE_BOUND, measure_probes
from tir_gym.agents.random_agent import RandomAgent
from tir_gym.compare import comparator
from tir_gym.env import SPLITS, Split
from tir_gym.envs.sql import SqlEnv
from tir_gym.envs.sql.changes import CHANGES
from tir_gym.envs.sql.database import Name, make_database
from tir_gym.envs.sql.generator import make_task
from tir_gym.envs.sql.questions import QUESTIONS
from tir_gym.envs.sql.same_sql import stamped
from tir_gym.envs.sql.schemas import BY_SPLIT, SCHEMAS
from tir_gym.episode import play_episode
from tir_gym.errors import UsageError
from tir_gym.gold import faults
from tir_gym.records import ToolCall

SHOP = Name("shop", "train/7", 300)


@pytest.fixture
def shop() -> sqlite3.Connection:
    return make_database(SHOP).connect()


# Databases


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("rows", [100, 900, 20_000])
def test_databases_have_the_size_that_is_asked_for_and_sound_keys(name: str, rows: int) -> None:
    database = make_database(Name(name, "train/1", rows)).connect()
    tables = [table for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {table: database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables}
    assert len(counts) == 4
    assert 0.95 * rows <= sum(counts.values()) <= 1.05 * rows
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_databases_are_skewed(shop: sqlite3.Connection) -> None:
    database = make_database(Name("shop", "train/1", 20_000)).connect()
    counts = [n for (n,) in database.execute("SELECT COUNT(*) AS n FROM orders GROUP BY customer_id ORDER BY n DESC")]
    assert sum(counts[: len(counts) // 10]) > 0.3 * sum(counts), "a tenth of the customers has far more than a tenth"


def test_the_same_name_gives_the_same_bytes_and_a_variant_other_facts_about_the_same_names() -> None:
    make_database.cache_clear()
    first = make_database(SHOP).data
    make_database.cache_clear()
    assert make_database(SHOP).data == first
    one, other = make_database(SHOP).connect(), make_database(Name("shop", "train/7", 300, variant=1)).connect()
    for table in ("customers", "products", "categories"):
        names = f"SELECT id, name FROM {table}"
        assert one.execute(names).fetchall() == other.execute(names).fetchall()
    orders = "SELECT * FROM orders"
    assert one.execute(orders).fetchall() != other.execute(orders).fetchall()


# Tasks


def play_all(split: Split, numbers: range) -> None:
    with closing(SqlEnv(split=split)) as env:
        for number in numbers:
            trace = play_episode(env, OracleAgent(), task=f"{split}/{number}").trace
            gold_calls = len(env.task.gold.calls)
            assert trace.success is True, (number, trace.checks)
            assert sum(turn.reward for turn in trace.turns) == pytest.approx(gold_calls + 1)


# In parts, so that several workers share them.
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("split", SPLITS)
def test_the_oracle_succeeds_on_every_task(split: Split, part: int) -> None:
    play_all(split, range(20 * part, 20 * part + 20))


@pytest.mark.parametrize("split", SPLITS)
def test_golds_are_without_fault(split: Split) -> None:
    with closing(SqlEnv(split=split)) as env:
        for number in range(1000, 1012):
            task = env.make_task(split, number)
            with closing(env.make_sandbox(task)) as sandbox:
                assert faults(task, sandbox) == []


def test_all_questions_and_changes_are_asked() -> None:
    tags = {tag for split in SPLITS for number in range(150) for tag in make_task(split, number, None).tags}
    assert {question.key for question in QUESTIONS} <= tags
    assert {change.key for change in CHANGES} <= tags


def test_splits_share_neither_schemas_nor_words() -> None:
    train, test = ({schema.name for schema in BY_SPLIT[split]} for split in SPLITS)
    assert train
    assert test
    assert not train & test
    for asked in (*QUESTIONS, *CHANGES):
        assert asked.words["train"] != asked.words["test"]
    nouns = [{word for s in BY_SPLIT[split] for word in (s.people.one, s.things.one, s.events.one)} for split in SPLITS]
    assert not nouns[0] & nouns[1]


SCRIPT = """
import hashlib
from tir_gym.agents.oracle import OracleAgent
from tir_gym.envs.sql import SqlEnv
from tir_gym.episode import play_episode
digest = hashlib.sha256()
for split in ("train", "test"):
    env = SqlEnv(split=split)
    for number in (3, 4, 5):
        trace = play_episode(env, OracleAgent(), task=f"{split}/{number}").trace
        digest.update(env.task.model_dump_json().encode() + trace.canonical())
print(digest.hexdigest())
"""


def test_two_processes_make_the_same_bytes() -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 65


def test_a_size_can_be_asked_for() -> None:
    with closing(SqlEnv(rows=5000)) as env:
        tasks = [env.make_task("train", number) for number in range(4)]
        names = {task.state["database"]["seed"] for task in tasks}
        assert names == {"train/shared"}
        assert tasks[0].state["database"]["rows"] == 5000
        assert play_episode(env, OracleAgent(), task="train/0").trace.success is True
    for rows in (99, 1_000_001, 1e3):
        with pytest.raises(UsageError, match="rows="):
            SqlEnv(rows=rows)  # type: ignore[arg-type]


def test_reading_tasks_have_no_tool_to_write() -> None:
    for number in range(40):
        task = make_task("train", number, None)
        names = [spec.name for spec in task.tools]
        assert ("execute" in names) == any(call.name == "execute" for call in task.gold.calls)


# The same SQL


ROWS, EFFECT = comparator("sql-rows"), comparator("sql-effect")


def gold(sql: str) -> str:
    return stamped(sql, SHOP)


def test_queries_are_the_same_when_they_give_the_same(shop: sqlite3.Connection) -> None:
    (who,) = shop.execute("SELECT c.name FROM customers c JOIN orders o ON o.customer_id = c.id LIMIT 1").fetchone()
    count = f"SELECT COUNT(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.name = '{who}'"
    (id,) = shop.execute("SELECT id FROM customers WHERE name = ?", (who,)).fetchone()
    (number,) = shop.execute(count).fetchone()
    for same in (
        count,
        f"  {count};",
        f"select count(id) as n from orders where customer_id = {id}",
        f"SELECT SUM(1) FROM orders WHERE customer_id IN (SELECT id FROM customers WHERE name = '{who}')",
        f"SELECT customer_id, COUNT(*) FROM orders WHERE customer_id = {id} GROUP BY customer_id",
    ):
        assert ROWS(same, gold(count)), same
    for other in (
        f"SELECT {number}",
        f"SELECT {number} FROM orders LIMIT 1",
        "SELECT COUNT(*) FROM orders",
        f"SELECT COUNT(*), 1, 2, 3, 4, 5 FROM orders WHERE customer_id = {id}",
        f"SELECT COUNT(*) FROM orders WHERE customer_id = {id + 1}",
        "SELECT nonsense",
        "DROP TABLE orders",
        "",
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n LIMIT 0",
        "\ud800",
        None,
        7,
        [count],
    ):
        assert not ROWS(other, gold(count)), other


def test_changes_are_the_same_when_they_change_the_same(shop: sqlite3.Connection) -> None:
    (who,) = shop.execute("SELECT name FROM customers ORDER BY id LIMIT 1").fetchone()
    move = f"UPDATE customers SET city = 'Nowhere' WHERE name = '{who}'"
    assert EFFECT("UPDATE customers SET city = 'No' || 'where' WHERE id = 1", gold(move))
    assert not EFFECT("UPDATE customers SET city = 'Nowhere' WHERE id = 2", gold(move))
    assert not EFFECT("UPDATE customers SET city = 'Nowhere'", gold(move))
    add = "INSERT INTO customers (name, city, customer_since) VALUES ('New One', 'X', '2024-01-01')"
    assert EFFECT(add.replace("(name, ", "(id, name, ").replace("('New", "(777, 'New"), gold(add))
    assert not EFFECT(add.replace("'X'", "'Y'"), gold(add))
    assert not EFFECT("SELECT 1", gold(move))


def test_what_does_nothing_by_itself_is_told_by_its_text() -> None:
    none = "UPDATE orders SET status = 'x' WHERE id = -1"
    assert EFFECT(none, gold(none))
    assert not EFFECT("UPDATE orders SET status = 'x' WHERE id = -2", gold(none))
    assert not ROWS("SELECT 1 WHERE 1 = 0", gold("SELECT id FROM orders WHERE id = -1"))
    assert ROWS("SELECT 1", "SELECT 1"), "a gold text without a database"
    assert not ROWS("SELECT  1", "SELECT 1")


# Playing


def test_another_way_is_paid_like_the_gold_one() -> None:
    with closing(SqlEnv()) as env:
        golds = ((n, make_task("train", n, None).gold.calls[0].arguments["sql"]) for n in range(500))
        number = next(n for n, sql in golds if sql.startswith(COUNT) and " AND " not in sql)
        _, info = env.reset(options={"task": f"train/{number}"})
        schema = SCHEMAS[env.task.state["database"]["schema"]]
        who = info["oracle"].calls[0].arguments["sql"].split("p.name = ")[1].split(" --")[0]
        person = f"(SELECT id FROM {schema.people.table} WHERE name = {who})"
        sql = f"SELECT COUNT(*) AS n FROM {schema.events.table} WHERE {schema.person_id} = {person}"
        _, reward, *_ = env.step(env.dialect.render("", [ToolCall("query", {"sql": sql})]))
        assert reward == pytest.approx(1.0)


COUNT = "SELECT COUNT(*) FROM loans e JOIN members p ON p.id = e.member_id WHERE p.name = '"


def test_a_wrong_write_fails_the_check_of_the_state() -> None:
    with closing(SqlEnv()) as env:
        number = next(n for n in range(500) if "change" in make_task("train", n, None).tags)
        _, info = env.reset(options={"task": f"train/{number}"})
        script = info["oracle"].script()
        for text, calls in script[:-1]:
            env.step(env.dialect.render(text, calls))
        table = SCHEMAS[env.task.state["database"]["schema"]].people.table
        env.step(
            env.dialect.render(
                "", [ToolCall("execute", {"sql": f"UPDATE {table} SET name = name || '!' WHERE id = 1"})]
            )
        )
        *_, info = env.step(script[-1][0])
        assert info["success"] is False
        assert info["checks"]["state"] is False


def test_cheats_stay_below_their_bound() -> None:
    for split in SPLITS:
        shares = measure_probes(lambda split=split: SqlEnv(split=split), [f"{split}/{n}" for n in range(2000, 2015)])
        assert shares
        assert max(shares.values()) < PROBE_BOUND, shares


def test_chance_gets_nowhere() -> None:
    returns, best = [], []
    with closing(SqlEnv()) as env:
        for number in range(3000, 3020):
            agent: Any = RandomAgent()
            trace = play_episode(env, agent, task=f"train/{number}", agent_seed=number).trace
            returns.append(sum(turn.reward for turn in trace.turns))
            best.append(len(env.task.gold.calls) + 1)
    assert sum(returns) / sum(best) < 0.1
