"""The tests of the trace store and of its crash safety, on a real PostgreSQL server.

`$TIR_GYM_POSTGRES_URL` names a database that the tests may make schemas in, `postgresql+psycopg://user@host/name`;
they are skipped without it. `tests/postgres.sh` starts a server for one run.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy

# Every test of these two files runs here again; `place` and `places` below take the place of theirs.
from test_crash_safety import *  # noqa: F403
from test_store import *  # noqa: F403

from tir_gym.errors import UsageError
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
