"""The store: runs by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlalchemy import Engine, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from tir_gym.errors import UsageError
from tir_gym.store import schema
from tir_gym.store.database import open_database, writing
from tir_gym.store.rows import Rows, put_episode
from tir_gym.store.run import Run
from tir_gym.store.text import to_text

DEFINING = ("env_id", "env_kwargs", "agent", "split", "tasks", "n", "k", "seed", "reward")
"""Entries of a run's config that make it the run it is; a resume must agree on them, and may differ in all others."""


@dataclass(frozen=True)
class RunInfo:
    """A line of the list of runs."""

    name: str
    status: str
    """`running` (or broken off) or `finished`."""
    config: Mapping[str, Any]
    created_at: str
    """UTC, ISO 8601."""
    finished_at: str | None
    episodes: int
    """Episodes that count, infrastructure failures left out."""
    successes: int
    mean_return: float | None
    infra_failures: int


def open_store(where: str | Path) -> Store:
    """Open a store, made where there is none.

    Args:
        where: Path of a SQLite file, or the URL of a PostgreSQL database, `postgresql+psycopg://user@host/name`.

    Raises:
        UsageError: Not a place for a store, or a store of a newer version.
        MissingExtra: PostgreSQL's driver is not installed.
    """
    return Store(open_database(where))


class Store:
    """Runs and their episodes; made by `open_store`. Any number of threads and processes may use one place."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin_run(self, name: str, config: Mapping[str, Any], *, resume: bool = False) -> Run:
        """Begin a run, or go on with one.

        Args:
            name: Unique in the store.
            config: What is being run, as JSON data; kept as it was when the run began.
            resume: Go on with the run of that name where there is one.

        Raises:
            UsageError: The name is taken (without `resume`), or its run differs in one of `DEFINING`.
        """
        row = _new_row(name, config)
        try:
            with writing(self._engine).begin() as connection:
                known = connection.execute(select(schema.runs).where(schema.runs.c.name == name)).first()
                if known is None:
                    connection.execute(insert(schema.runs).values(row))
                elif not resume:
                    raise _Taken(name)
                else:
                    _agree(name, json.loads(known.config), json.loads(row["config"]))
                    again = update(schema.runs).where(schema.runs.c.id == known.id)
                    connection.execute(again.values(status="running", finished_at=None))
        except IntegrityError:  # another process has just begun it
            raise _Taken(name) from None
        return self.run(name)

    def begin_another(self, name: str, config: Mapping[str, Any]) -> Run:
        """Begin a run under a name that no other has: `name`, or else `name-2`, `name-3`, ...

        Raises:
            UsageError: No name for a run, or no JSON data.
        """
        free, number = name, 1
        while True:
            try:
                return self.begin_run(free, config)
            except _Taken:
                number += 1
                free = f"{name}-{number}"

    def add_run(self, name: str, config: Mapping[str, Any], episodes: Iterable[Rows]) -> Run:
        """Add a finished run from elsewhere, all of it or nothing.

        Args:
            name: Unique in the store.
            config: As for `begin_run`.
            episodes: As `rows_of` makes them; read inside the transaction.

        Raises:
            UsageError: The name is taken, or an episode comes twice.
        """
        row = {**_new_row(name, config), "status": "finished", "finished_at": _now()}
        try:
            with writing(self._engine).begin() as connection:
                key = connection.execute(insert(schema.runs).values(row)).inserted_primary_key
                assert key is not None
                for rows in episodes:
                    put_episode(connection, key[0], rows)
        except IntegrityError:
            raise _Taken(name) from None
        return self.run(name)

    def run(self, name: str) -> Run:
        """The run of that name.

        Raises:
            UsageError: There is none.
        """
        with self._engine.connect() as connection:
            found = connection.execute(select(schema.runs).where(schema.runs.c.name == name)).first()
            if found is None:
                names = connection.scalars(select(schema.runs.c.name).order_by(schema.runs.c.id.desc()).limit(5)).all()
        if found is None:
            there = f"the latest are {', '.join(map(repr, names))}" if names else "the store is empty"
            raise UsageError(f"no run {name!r} in this store; {there}")
        return Run(self._engine, found.id, found.name, json.loads(found.config))

    def runs(self) -> list[RunInfo]:
        """All runs, the oldest first."""
        episodes = schema.episodes.c
        failed = episodes.infra_kind.is_not(None)
        figures = (
            select(
                episodes.run_id,
                func.sum(case((failed, 0), else_=1)).label("episodes"),
                func.sum(case((failed, 1), else_=0)).label("infra_failures"),
                func.sum(case((episodes.success, 1), else_=0)).label("successes"),
                func.avg(case((failed, None), else_=episodes.episode_return)).label("mean_return"),
            )
            .group_by(episodes.run_id)
            .subquery()
        )
        query = (
            select(schema.runs, figures)
            .outerjoin(figures, figures.c.run_id == schema.runs.c.id)
            .order_by(schema.runs.c.id)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            RunInfo(
                name=row["name"],
                status=row["status"],
                config=json.loads(row["config"]),
                created_at=row["created_at"],
                finished_at=row["finished_at"],
                episodes=int(row["episodes"] or 0),
                successes=int(row["successes"] or 0),
                mean_return=row["mean_return"],
                infra_failures=int(row["infra_failures"] or 0),
            )
            for row in rows
        ]

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._engine.dispose()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _new_row(name: str, config: Mapping[str, Any]) -> dict[str, str]:
    if not name.strip() or not name.isprintable():
        raise UsageError(f"run name {name!r}: give some printable text")
    try:
        text = to_text(dict(config))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the config of run {name!r} is no JSON data: {error}") from None
    return {"name": name, "status": "running", "config": text, "created_at": _now()}


class _Taken(UsageError):
    """Another run has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a run {name!r} already; resume it, or choose another name")


def _agree(name: str, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for key in DEFINING:
        ours, theirs = stored.get(key), given.get(key)
        if to_text(ours) != to_text(theirs):
            raise UsageError(
                f"run {name!r} was begun with {key}={_shown(ours)} and cannot be resumed with {key}={_shown(theirs)}; "
                "give the same, or another run name"
            )


def _shown(value: Any) -> str:
    text = to_text(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
