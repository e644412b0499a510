"""The four tools of a database: the same names and meaning, whatever database it is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from tir_gym.sandboxes.bounded import bounded
from tir_gym.tool import Injected, Toolkit, tool


class Database(Injected):
    """What the tools work on."""

    @abstractmethod
    def run_sql(self, sql: str, *, write: bool) -> dict[str, Any]:
        """Run one statement, its changes kept or refused."""

    @property
    @abstractmethod
    def most_output(self) -> int:
        """Bytes that one call may give back."""

    @abstractmethod
    def table_names(self) -> list[str]:
        """Names of tables and views, sorted."""

    @abstractmethod
    def describe(self, table: str) -> dict[str, Any]:
        """A table's columns and keys."""


@tool
def query(database: Database, sql: str) -> dict[str, Any]:
    """Run one SQL statement that only reads, and give back its columns and rows.

    Args:
        sql: One statement, such as a SELECT.
    """
    return database.run_sql(sql, write=False)


@tool(effect="write")
def execute(database: Database, sql: str) -> dict[str, Any]:
    """Run one SQL statement that may write, and give back how many rows it changed.

    Args:
        sql: One statement, such as an INSERT, UPDATE or DELETE.
    """
    return database.run_sql(sql, write=True)


@tool
def list_tables(database: Database) -> dict[str, Any]:
    """List the tables and views of the database."""
    return bounded({"tables": database.table_names()}, "tables", database.most_output)


@tool
def describe_table(database: Database, table: str) -> dict[str, Any]:
    """Tell the columns of a table, their types, and its primary and foreign keys.

    Args:
        table: Its name.
    """
    return bounded({"table": table, **database.describe(table)}, "columns", database.most_output)


READING = Toolkit([query, list_tables, describe_table])
WRITING = Toolkit([query, execute, list_tables, describe_table])
