"""Where a store can lie, what SQLite is told about it, and how a place that cannot be is refused."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest
from ordinary_user import python_as_ordinary_user

from tir_gym.errors import MissingExtra, UsageError
from tir_gym.store import open_store


@pytest.mark.parametrize("form", ["path", "str", "url"])
def test_a_file_is_made_with_its_folders(tmp_path: Path, form: str) -> None:
    file = tmp_path / "a" / "b c" / "runs.db"
    where = {"path": file, "str": str(file), "url": f"sqlite:///{file}"}[form]
    with open_store(where) as store:
        store.begin_run("x", {})
    assert file.is_file()
    with open_store(file) as store:
        assert [info.name for info in store.runs()] == ["x"]


def test_home_and_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    open_store("~/home.db").close()
    open_store("here.db").close()
    assert {path.name for path in tmp_path.glob("*.db")} == {"home.db", "here.db"}


def test_sqlite_is_set_up_for_several_processes(tmp_path: Path) -> None:
    with open_store(tmp_path / "runs.db") as store, store._engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        }
    assert found == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 60000, "synchronous": 1}


def test_no_query_reads_more_than_it_shows(tmp_path: Path) -> None:
    """Each of them finds its rows by an index; the list of runs reads an index alone and no episode."""
    file = tmp_path / "runs.db"
    queries: list[str] = []
    with open_store(file) as store:
        run = store.begin_run("x", {})
        driver = store._engine.raw_connection()
        connection = driver.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(queries.append)
        driver.close()  # back to the pool, which gives it out again
        store.runs()
        run.done()
        list(run.episodes())
        run.oracle_returns()
        assert run.status == "running"
    plain = sqlite3.connect(file)
    plans = {
        query: [row[3] for row in plain.execute(f"EXPLAIN QUERY PLAN {query}")]
        for query in queries
        if query.startswith("SELECT") and "episodes" in query
    }
    plain.close()
    assert len(plans) == 4
    for query, plan in plans.items():
        for step in plan:
            assert not step.startswith("SCAN episodes") or "COVERING INDEX" in step, (query, plan)
            assert "TEMP B-TREE" not in step or "FROM runs" in query, (query, plan)


_LOOKS_AND_WRITES = """
import sys
from tir_gym.errors import UsageError
from tir_gym.store import open_store
with open_store(sys.argv[1]) as store:
    print([info.name for info in store.runs()])
    try:
        store.begin_run("mine", {})
    except UsageError as error:
        print(error)
"""


@pytest.mark.parametrize("written", [False, True])
def test_who_may_not_write_a_store_can_read_it(written: bool) -> None:
    """Also while another is writing it; in a folder with a name that means something in a URL."""
    with tempfile.TemporaryDirectory(
        dir="/tmp", prefix="a?b#c%20"
    ) as made:  # pytest's own folders are closed to others
        place = Path(made)
        file = place / "runs.db"
        store = open_store(file)
        store.begin_run("theirs", {})
        if not written:
            store.close()
        assert file.with_name("runs.db-wal").exists() is written
        for path in place.iterdir():
            path.chmod(0o444)
        place.chmod(0o555)
        try:
            ended = python_as_ordinary_user(_LOOKS_AND_WRITES, str(file))
        finally:
            place.chmod(0o755)
            store.close()
    assert ended.stdout.splitlines() == [
        "['theirs']",
        f"the store {file} can only be read: this user may not write it",
    ], ended.stderr


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is a folder; name a file in it, such as .*runs\.db"):
        open_store(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make the folder"):
        open_store(tmp_path / "file" / "runs.db")


def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("Dear diary, " * 100)
    with pytest.raises(UsageError, match=r"cannot open the store .*notes\.txt: file is not a database"):
        open_store(file)
    assert file.read_text() == "Dear diary, " * 100


@pytest.mark.parametrize("url", ["mysql://me@here/runs", "sqlite://", "postgresql+asyncpg://h/d", "://", "x y://z"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"give a path, or postgresql\+psycopg://"):
        open_store(url)


def test_a_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # what `import psycopg` meets where it is not installed
    with pytest.raises(MissingExtra, match=r"pip install 'tir-gym\[sql\]'"):
        open_store("postgresql+psycopg://me@localhost/runs")
