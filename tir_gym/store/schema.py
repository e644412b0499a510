"""What lies where: the tables, the same in SQLite and PostgreSQL.

An episode stands here twice. `traces` has it whole and exact, as the text that `text.py` makes. The other tables have
it taken apart for queries: `episodes` (one row each, all figures), `turns`, `calls`, `matches` and `rewards`. Their
`Readable` columns escape what a database refuses; whoever needs the exact words reads the trace. Wall-clock seconds
and token counts stand in columns only, never in a trace.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from tir_gym.store.text import readable

SCHEMA_VERSION = 1
"""Version of these tables; a store of a newer one is refused."""


class Readable(TypeDecorator[str]):
    """Text of an agent or a tool, for queries: NUL and lone surrogates are kept as escapes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else readable(value)


metadata = MetaData()

# Names are compared and sorted by code point everywhere, so that an export has the same order from every database.
_Name = Text().with_variant(Text(collation="C"), "postgresql")
_Id = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only under exactly INTEGER
_Json = Text  # as `to_text` writes it; the JSON types of databases refuse NaN and NUL

versions = Table(
    "versions",
    metadata,
    Column("name", String(32), primary_key=True),  # schema, trace, tir_gym
    Column("version", String(64), nullable=False),  # of those with which the store was made
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("status", String(16), nullable=False),  # running, finished
    Column("config", _Json, nullable=False),
    Column("created_at", String(32), nullable=False),  # UTC, ISO 8601
    Column("finished_at", String(32)),
)

episodes = Table(
    "episodes",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("task_id", _Name, nullable=False),
    Column("repeat", Integer, nullable=False),
    Column("success", Boolean),
    Column("episode_return", Float(53), nullable=False),
    Column("turns", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("right_calls", Integer, nullable=False),
    Column("gold_calls", Integer, nullable=False),
    Column("malformed", Integer, nullable=False),
    Column("errors", _Json, nullable=False),
    Column("ending", Text),
    Column("infra_kind", Readable),  # NULL unless the infrastructure failed
    Column("infra_error", _Json),
    Column("oracle_return", Float(53)),
    Column("tags", _Json, nullable=False),
    Column("metrics", _Json, nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("usage", _Json, nullable=False),
    UniqueConstraint("run_id", "task_id", "repeat"),
    sqlite_autoincrement=True,  # the id of a replaced episode is never given again: a reader may still hold it
)

# Holds all that the list of runs shows, which then reads no episode.
Index("episodes_of_runs", episodes.c.run_id, episodes.c.infra_kind, episodes.c.success, episodes.c.episode_return)


def _part_of_episode(name: str, *columns: Column[Any]) -> Table:
    episode: Column[int] = Column("episode_id", ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)
    return Table(name, metadata, episode, *columns, sqlite_with_rowid=False)


traces = Table(
    "traces",
    metadata,
    Column("episode_id", ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("trace", _Json, nullable=False),
)

turns = _part_of_episode(
    "turns",
    Column("turn", Integer, primary_key=True),
    Column("text", Readable, nullable=False),
    Column("malformed", Integer, nullable=False),
    Column("reward", Float(53), nullable=False),
    Column("hindsight", Float(53)),  # the turn's hindsight credit; NULL after an infrastructure failure
    Column("seconds", Float(53)),
)

calls = _part_of_episode(
    "calls",
    Column("turn", Integer, primary_key=True),
    Column("call", Integer, primary_key=True),
    Column("name", Readable, nullable=False),
    Column("arguments", _Json, nullable=False),
    Column("error_kind", Readable),
    Column("error", Readable),
)

matches = _part_of_episode(
    "matches",
    Column("turn", Integer, primary_key=True),
    Column("call", Integer, primary_key=True),
    Column("gold", Integer),  # position in the gold trace; NULL for a call that paid for nothing
    Column("score", Float(53), nullable=False),
)

rewards = _part_of_episode(
    "rewards",
    Column("turn", Integer, primary_key=True),
    Column("term", Readable, primary_key=True),
    Column("value", Float(53), nullable=False),
)
