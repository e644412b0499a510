"""Opening the database: a SQLite file by default, PostgreSQL by URL, its tables made and its version checked.

SQLite runs in WAL mode, so that any number of processes read while one writes, and a second writer waits its turn.
A transaction is on disk or not at all when a process dies. After a power cut the last few may be missing, whole;
a resume plays those again (`synchronous=NORMAL`; waiting for the disk would cost more than most episodes).

In WAL mode SQLite writes even to read. A file that this user may not write, and that nobody is writing, is therefore
opened as one that does not change.
"""

from __future__ import annotations

import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

import tir_gym
from tir_gym.errors import MissingExtra, UsageError
from tir_gym.records import TRACE_VERSION
from tir_gym.store import schema

_BUSY_SECONDS = 60
_ONLY_READ = "tir_gym_only_read"
_ADVISORY_LOCK = 0x7469725F67796D  # any number that nobody else locks; "tir_gym" in ASCII


def open_database(where: str | Path) -> Engine:
    """An engine on a store that is ready to use; made if there is none. `writing` gives the one to write with.

    Raises:
        UsageError: Not a place for a store, or a store of a newer version.
        MissingExtra: The database's driver is not installed.
    """
    url = _url(where)
    engine = _sqlite(url) if url.get_backend_name() == "sqlite" else _postgres(url)
    try:
        _prepare(engine)
    except DatabaseError as error:
        engine.dispose()
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        raise UsageError(f"cannot open the store {shown_url(url)}: {reason}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def writing(engine: Engine) -> Engine:
    """The same database, for transactions that write: they take SQLite's write lock at once, and so cannot find
    halfway that another process was quicker.

    Raises:
        UsageError: This user may only read it.
    """
    if _is_only_read(engine):
        raise UsageError(f"the store {shown_url(engine.url)} can only be read: this user may not write it")
    return engine.execution_options(tir_gym_writes=True)


def _url(where: str | Path) -> URL:
    if isinstance(where, str) and "://" in where:
        try:
            url = make_url(where)
        except ArgumentError:
            raise UsageError(f"{where!r} is no database URL; give a path, or postgresql+psycopg://...") from None
        if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and url.database:
            return _file_url(Path(url.database))
        raise UsageError(f"a store cannot be kept in {url.drivername}; give a path, or postgresql+psycopg://...")
    return _file_url(Path(where))


def _file_url(path: Path) -> URL:
    path = path.expanduser().absolute()
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it, such as {path / 'runs.db'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}; choose another place") from None
    return URL.create("sqlite", database=str(path))


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _readable(url, path)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # the driver shall begin no transaction of its own; `_begin` does
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("tir_gym_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _readable(url: URL, path: Path) -> Engine:
    """An engine on a file that this user may not write, alone or with the log of who is writing it."""
    still = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    place = f"file:{quote(str(path))}?mode=ro{still}"
    connect = partial(sqlite3.connect, place, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False)
    return create_engine(url, creator=connect, execution_options={_ONLY_READ: True})


def _is_only_read(engine: Engine) -> bool:
    return bool(engine.get_execution_options().get(_ONLY_READ, False))


def _postgres(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True)
    except ImportError as error:
        raise MissingExtra("PostgreSQL needs its driver; run pip install 'tir-gym[sql]'") from error


def _prepare(engine: Engine) -> None:
    """Check the version of a store, or make one."""
    if engine.dialect.name == "sqlite" and not _is_only_read(engine):
        _use_wal(engine)
    with engine.connect() as connection:
        if _is_store(connection):
            return
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if not _is_store(connection):  # else another process has made it meanwhile
            schema.metadata.create_all(connection)
            made = {"schema": schema.SCHEMA_VERSION, "trace": TRACE_VERSION, "tir_gym": tir_gym.__version__}
            connection.execute(
                insert(schema.versions), [{"name": name, "version": str(version)} for name, version in made.items()]
            )


def _is_store(connection: Connection) -> bool:
    tables = set(inspect(connection).get_table_names())
    if schema.versions.name not in tables:
        foreign = sorted(tables & set(schema.metadata.tables))
        if foreign:
            raise UsageError(
                f"the database {shown_url(connection.engine.url)} has tables of another program "
                f"({', '.join(foreign)}); name another file, database or schema"
            )
        return False
    found = dict(connection.execute(select(schema.versions.c.name, schema.versions.c.version)).all())
    version = int(found["schema"])
    if version > schema.SCHEMA_VERSION:
        raise UsageError(
            f"the store {shown_url(connection.engine.url)} was made by tir-gym {found.get('tir_gym')} and has schema "
            f"version {version}; this tir-gym reads up to {schema.SCHEMA_VERSION}: upgrade it"
        )
    return True


def _use_wal(engine: Engine) -> None:
    """Switch the file to WAL mode, which it then stays in. SQLite does not wait for a lock here, so we do."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                driver.execute("PRAGMA journal_mode = WAL")
            return
        except (OperationalError, sqlite3.OperationalError) as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def shown_url(url: URL) -> str:
    """A store's place for people to read: the path of a file, or a URL without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)
