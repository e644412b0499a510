"""This process's part of a PostgreSQL server: a template database for each content, a database for each environment.

An environment's database is a copy of a template, and has a role of its own that may enter no other. What is given back
was rolled back, so it serves the next environment without another copy. Names begin with `tirgym_` and a number whose
advisory lock is held as long as this process lives: the next process removes what others have left behind.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tir_gym.errors import SandboxUnavailable, UsageError
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.sql.image import Image
from tir_gym.sandboxes.sql.inside import contents
from tir_gym.sandboxes.sql.postgres_catalog import VIEWS

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy

    Connection = psycopg.Connection[Any]

IDLE = 4
"""Databases of a template that wait for the next environment."""
TEMPLATES = 16
"""Templates kept; those used longest ago go first."""
PREFIX = "tirgym_"

_CLOSED = "set_config query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema \
table_to_xml schema_to_xml database_to_xml ts_stat ts_rewrite lo_import lo_export lo_create lo_creat lo_from_bytea \
pg_sleep pg_sleep_for pg_sleep_until pg_notify pg_advisory_lock pg_advisory_xact_lock pg_read_file pg_ls_dir"
"""Functions that nobody but the owner of the server may call in an environment's database."""


@dataclass
class Place:
    """A database and the only role that may enter it."""

    image: Image
    database: str
    password: str
    clean: bool = True
    """Whether nothing in it was ever committed."""


class Server:
    """What this process has on a server.

    Args:
        url: Of a database there, with a user who may create databases and roles.

    Raises:
        SandboxUnavailable: It cannot be reached, or the user may not.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._arguments = _arguments(url)
        self._token = secrets.randbits(40)
        self._role = f"{PREFIX}{self._token:x}"
        self._templates: dict[str, tuple[str, dict[str, str]]] = {}
        self._free: dict[str, list[Place]] = {}
        self._warm: dict[tuple[str, int], list[Any]] = {}
        self._count = 0
        self.forgotten: deque[tuple[Place, Connection]] = deque()
        """Databases whose sessions were collected, which may happen in the middle of anything: seen to later."""
        try:
            self._admin, self._watch = self._connect(), self._connect()
        except Exception as error:
            raise SandboxUnavailable(f"sql: no server at {_shown(url)}: {error}", kind="server_missing") from error
        found = self._admin.execute(
            "SELECT rolsuper, rolcreatedb AND rolcreaterole FROM pg_roles WHERE rolname = current_user"
        ).fetchone() or (False, False)
        self._super = bool(found[0])
        if not any(found):
            raise SandboxUnavailable(
                f"sql: the user of {_shown(url)} may not create databases and roles; give it CREATEDB and CREATEROLE",
                kind="server_missing",
            )
        self._admin.execute("SELECT pg_advisory_lock(%s)", (self._token,))
        self._sweep()
        self._admin.execute(f"CREATE ROLE {self._role} NOLOGIN")
        self._admin.execute(f"GRANT {self._role} TO CURRENT_USER")
        atexit.register(self.close)

    @property
    def usable(self) -> bool:
        return self._owner == os.getpid() and not self._admin.closed

    def warm(self, image: Image, limits: Limits) -> Any | None:
        """A session that was given back, in the template's state; `None` where there is none."""
        with self._lock:
            while self.forgotten:
                place, connection = self.forgotten.popleft()
                connection.close()
                self.give_back(place)
            waiting = self._warm.get((image.key, limits.disk), [])
            while waiting:
                session = waiting.pop()
                if session.usable:
                    return session
            return None

    def keep(self, session: Any, image: Image, limits: Limits) -> bool:
        """Take back a session that is in the template's state; whether there was room for it."""
        with self._lock:
            waiting = self._warm.setdefault((image.key, limits.disk), [])
            if not self.usable or len(waiting) >= IDLE or image.key not in self._templates:
                return False
            waiting.append(session)
            return True

    def enter(self, image: Image) -> tuple[Place, Connection]:
        """A database with the template's content, and a connection as its role.

        Raises:
            SandboxUnavailable: Its role cannot log in.
        """
        with self._lock:
            free = self._free.get(image.key)
            place = free.pop() if free else self._make_place(image)
        try:
            connection = self._connect(dbname=place.database, user=place.database, password=place.password)
        except Exception as error:
            self._drop(place.database, role=True)
            raise SandboxUnavailable(
                f"sql: an environment's role cannot log in; the server must let roles in by password: {error}",
                kind="server_missing",
            ) from error
        return place, connection

    def give_back(self, place: Place) -> None:
        """A database whose connection has ended: for the next environment, or dropped."""
        with self._lock:
            if not self.usable:
                return
            free = self._free.setdefault(place.image.key, [])
            if place.clean and len(free) < IDLE and place.image.key in self._templates:
                free.append(place)
            else:
                self._drop(place.database, role=True)

    def terminate(self, backend: int) -> None:
        """End a connection from outside, whatever it does."""
        with suppress(Exception):
            self._watch.execute("SELECT pg_terminate_backend(%s)", (backend,))

    def views(self, image: Image) -> dict[str, str]:
        """Definitions of the template's views as the server has them."""
        with self._lock:
            return self._templates[image.key][1]

    def close(self) -> None:
        """Remove all that this process has made."""
        with self._lock:
            if not self.usable:
                return
            for waiting in self._warm.values():
                for session in waiting:
                    session.end()
            self._warm.clear()
            self._remove(self._role)
            self._admin.close()
            self._watch.close()

    # Databases.

    def _make_place(self, image: Image) -> Place:
        template = self._template(image)
        self._count += 1
        name, password = f"{self._role}_e{self._count}", secrets.token_hex(16)
        run = self._admin.execute
        run(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {self._role}")
        run(f"CREATE DATABASE {name} TEMPLATE {template}")
        run(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        run(f"GRANT CONNECT ON DATABASE {name} TO {name}")
        if self._super:
            run(f"ALTER ROLE {name} SET temp_file_limit = '1GB'")
        return Place(image, name, password)

    def _template(self, image: Image) -> str:
        found = self._templates.pop(image.key, None)
        if found is None:
            self._count += 1
            name = f"{self._role}_t{self._count}"
            self._admin.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            found = name, self._fill(name, image)
        self._templates[image.key] = found
        while len(self._templates) > TEMPLATES:
            self._forget(next(iter(self._templates)))
        return found[0]

    def _fill(self, name: str, image: Image) -> dict[str, str]:
        self._admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        with self._connect(dbname=name) as connection:
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            connection.execute(f"GRANT ALL ON SCHEMA public TO {self._role}")
            if self._super:
                for (function,) in connection.execute(
                    "SELECT oid::regprocedure FROM pg_proc WHERE proname = ANY (%s)", (_CLOSED.split(),)
                ).fetchall():
                    connection.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
            connection.execute(f"SET ROLE {self._role}")
            _copy(image, connection)
            connection.execute("ANALYZE")
            return dict(connection.execute(VIEWS.encode()).fetchall())

    def _forget(self, key: str) -> None:
        name, _ = self._templates.pop(key)
        for (image, _), waiting in self._warm.items():
            if image == key:
                for session in waiting:
                    session.end()
                waiting.clear()
        for place in self._free.pop(key, []):
            self._drop(place.database, role=True)
        self._drop(name)

    def _drop(self, database: str, *, role: bool = False) -> None:
        with suppress(Exception):
            self._admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        if role:
            with suppress(Exception):
                self._admin.execute(f"DROP ROLE IF EXISTS {database}")

    def _sweep(self) -> None:
        """Remove what processes that are gone have left."""
        names = self._admin.execute(
            "SELECT rolname FROM pg_roles WHERE rolname ~ %s", (f"^{PREFIX}[0-9a-f]+$",)
        ).fetchall()
        for (name,) in names:
            token = int(name.removeprefix(PREFIX), 16)
            (free,) = self._admin.execute("SELECT pg_try_advisory_lock(%s)", (token,)).fetchone() or (False,)
            if free and token != self._token:
                self._remove(name)
                self._admin.execute("SELECT pg_advisory_unlock(%s)", (token,))

    def _remove(self, owner: str) -> None:
        """Remove all databases and roles whose names begin like that."""
        for query in (
            "SELECT datname FROM pg_database WHERE datname ~ %s",
            "SELECT rolname FROM pg_roles WHERE rolname ~ %s",
        ):
            for (name,) in self._admin.execute(query.encode(), (f"^{owner}_[et][0-9]+$",)).fetchall():
                self._drop(name, role=True)
        with suppress(Exception):
            self._admin.execute(f"DROP ROLE IF EXISTS {owner}")

    def _connect(self, **changed: Any) -> Connection:
        import psycopg

        made: Connection = psycopg.connect(**{**self._arguments, **changed}, autocommit=True)
        _connections.add(made)
        return made


_servers: dict[str, Server] = {}
_lock = threading.Lock()
_connections: weakref.WeakSet[Any] = weakref.WeakSet()
_inherited: list[Any] = []
"""Connections of the process that this one was forked from: to let go of one would end it there."""


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _inherited.extend([*_connections, *_servers.values()])
    _servers.clear()
    _connections.clear()


os.register_at_fork(after_in_child=_after_fork)


def server_at(url: str) -> Server:
    """This process's part of the server with that URL."""
    with _lock:
        server = _servers.get(url)
        if server is None or not server.usable:
            server = _servers[url] = Server(url)
        return server


def _copy(image: Image, connection: Connection) -> None:
    """Make the image's tables and views in a database, and fill them."""
    import sqlalchemy

    source = sqlalchemy.create_engine("sqlite://", creator=image.connect, poolclass=sqlalchemy.pool.StaticPool)
    target = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.pool.StaticPool
    )
    metadata = sqlalchemy.MetaData()
    metadata.reflect(source)
    for table in metadata.tables.values():
        for column in table.columns:
            column.type = _server_type(column)
        _keep_actions(table, source)
    metadata.create_all(target, checkfirst=False)
    rows = image.connect()
    for table in metadata.sorted_tables:
        names = ", ".join(contents.quoted(column.name) for column in table.columns)
        with connection.cursor().copy(f"COPY {contents.quoted(table.name)} ({names}) FROM STDIN".encode()) as copy:
            for values in rows.execute(f"SELECT {names} FROM {contents.quoted(table.name)}"):
                copy.write_row(values)
    rows.close()
    for text in image.views.values():
        connection.execute(text.encode())


def _keep_actions(table: sqlalchemy.Table, source: sqlalchemy.Engine) -> None:
    """What becomes of rows when those that they refer to change, which reflection loses with short references."""
    with source.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM pragma_foreign_key_list(?)", (table.name,)).fetchall()
    actions = {(key[2], key[3].lower()): (key[5], key[6]) for key in found}
    for constraint in table.foreign_key_constraints:
        key = (constraint.referred_table.name, constraint.column_keys[0].lower())
        constraint.onupdate, constraint.ondelete = actions[key]


def _server_type(column: sqlalchemy.Column[Any]) -> Any:
    """The server's type for a column of SQLite: whole numbers as long, text in the order of its bytes."""
    import sqlalchemy

    kind = contents.plain_type(str(column.type))
    if kind == "integer":
        return sqlalchemy.BigInteger()
    if kind == "text":
        return sqlalchemy.Text()
    if kind == "real":
        return sqlalchemy.Double()
    return column.type


def _arguments(url: str) -> dict[str, Any]:
    """What the driver wants to know, of a URL as SQLAlchemy reads it."""
    import sqlalchemy

    try:
        made = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # the second of a port that is no number
        raise UsageError(f"url: {error}; give one such as postgresql://user@host:5432/database") from None
    if made.get_backend_name() != "postgresql":
        raise UsageError(f"url={_shown(url)!r}: only PostgreSQL is known, postgresql://user@host/database")
    named = {"host": made.host, "port": made.port, "user": made.username, "password": made.password}
    return {
        **{key: value for key, value in named.items() if value},
        "dbname": made.database or "postgres",
        **made.query,
    }


def _shown(url: str) -> str:
    import sqlalchemy

    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return "that URL"
