"""The tests of the trace store and of its crash safety, on a real PostgreSQL server.

`$TIR_GYM_POSTGRES_URL` names a database that the tests may make schemas in, `postgresql+psycopg://user@host/name`;
they are skipped without it. `tests/postgres.sh` starts a server for one run.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy

# Every test of these two files runs here again; `place` and `places` below take the place of theirs.
from test_crash_safety import *  # noqa: F403
from test_store import *  # noqa: F403
from tiny_agents import Coin

from tir_gym.episode import play_episode
from tir_gym.errors import UsageError
from tir_gym.making import make_env
from tir_gym.store import open_store

URL = os.environ.get("TIR_GYM_POSTGRES_URL")

pytestmark = pytest.mark.skipif(not URL, reason="TIR_GYM_POSTGRES_URL is not set; see tests/postgres.sh")


@pytest.fixture
def make_place() -> Iterator[Callable[[], str]]:
    """Makes empty schemas, each as good as a database of its own, and drops them in the end."""
    assert URL is not None
    engine = sqlalchemy.create_engine(URL)
    made = []

    def make() -> str:
        made.append(f"test_{uuid.uuid4().hex}")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.schema.CreateSchema(made[-1]))
        url = sqlalchemy.make_url(URL).update_query_dict({"options": f"-csearch_path={made[-1]}"})
        return url.render_as_string(hide_password=False)

    yield make
    with engine.begin() as connection:
        for name in made:
            connection.execute(sqlalchemy.schema.DropSchema(name, cascade=True))
    engine.dispose()


@pytest.fixture
def place(make_place: Callable[[], str]) -> str:
    return make_place()


@pytest.fixture
def places(make_place: Callable[[], str]) -> list[str]:
    return [make_place() for _ in range(14)]


def test_the_short_form_of_the_url_will_do(place: str) -> None:
    with open_store(place.replace("postgresql+psycopg://", "postgresql://")) as store:
        assert store.runs() == []


def test_a_server_that_cannot_be_reached_is_told_without_the_password() -> None:
    with pytest.raises(UsageError, match=r"cannot open the store postgresql\+psycopg://me:\*\*\*@127\.0\.0\.1:1/none"):
        open_store("postgresql+psycopg://me:secret@127.0.0.1:1/none")


def test_the_viewer_reads_postgresql_as_it_reads_sqlite(place: str, tmp_path: Path) -> None:
    pytest.importorskip("starlette", reason="the extra `viewer` is not installed")
    from starlette.testclient import TestClient

    from tir_gym.viewer.app import make_app
    from tir_gym.viewer.lines import SORTS, Wanted
    from tir_gym.viewer.reader import Reader

    env = make_env("tir_gym/Calculator-v0")
    readers = []
    for where in (place, str(tmp_path / "runs.db")):
        with open_store(where) as store:
            run = store.begin_run("one", {"env_id": "tir_gym/Calculator-v0", "agent": "coin", "k": 2, "n": 3})
            for number in range(6):
                played = play_episode(env, Coin(), task=f"test/{number // 2}", agent_seed=number)
                run.record(replace(played, seconds=0.5, turn_seconds=(0.1,)), repeat=number % 2)
            run.finish()
        readers.append(Reader(where))
    ours, theirs = (reader.run(1) for reader in readers)
    assert ours.tokens is not None
    assert replace(ours, created_at="", finished_at="") == replace(theirs, created_at="", finished_at="")
    for sort in SORTS:
        ours, theirs = (reader.episodes(1, Wanted(sort=sort, outcome="done")) for reader in readers)
        assert ours == theirs
    ours, theirs = (
        (reader.group(1, "test/1"), reader.task_cells(1), reader.neighbours(reader.episode(3))) for reader in readers
    )
    assert ours == theirs
    pages = TestClient(make_app(readers[0]), base_url="http://localhost")
    for address in ("/", "/runs/1", "/episodes/1", "/group?run=1&task=test/1", "/pulse"):
        assert pages.get(address).status_code == 200, address
    for reader in readers:
        reader.close()
