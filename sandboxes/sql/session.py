"""What a database does for one environment, wherever it runs: `SqliteSession` and `PostgresSession` do the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tir_gym.sandbox import Limits
from tir_gym.sandboxes.sql.image import Image

GONE = "gone"
"""Kind of a loss that no statement can have caused."""


class SessionLost(Exception):
    """The database's process is gone, with all that was not committed.

    Args:
        kind: Of the error that the running call gets, as in `ToolResult`; or `GONE`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Statement:
    """A statement to run."""

    sql: str
    write: bool
    position: int
    """Statements in the log before it, where a savepoint may be set."""
    seed: str
    """Where its random numbers come from."""
    limits: Limits
    rows: int
    """Most rows to give back."""


class Session(Protocol):
    """The template's content, inside a transaction that never ends.

    All raise `SessionLost` when the process is gone, and `SandboxUnavailable` or `SandboxDied` when nothing can be had.
    """

    @property
    def usable(self) -> bool:
        """Whether it belongs to this process and is not closed."""
        ...

    def run(self, statement: Statement) -> dict[str, Any]:
        """`columns`, `rows`, `truncated`, or `error` and `kind`; `changed` rows, `touched` tables (`*`: the schema),
        `read` tables; `lost` where the transaction broke and the state is the template's again."""
        ...

    def rewind(self, position: int) -> int:
        """Go back to a savepoint at or before that position of the log, and say which."""
        ...

    def tables(self) -> list[str]:
        """Names of tables and views."""
        ...

    def describe(self, table: str) -> dict[str, Any] | None:
        """Columns and keys, `None` where there is no such table."""
        ...

    def digests(self, tables: list[str] | None) -> dict[str, Any]:
        """`tables`: digests of these tables, or of all; `views`: their definitions."""
        ...

    def changes(self, tables: list[str] | None) -> dict[str, Any]:
        """What differs from the template in these tables, or in all."""
        ...

    def close(self) -> None:
        """Give all back; safe to call twice."""
        ...


class Backend(Protocol):
    """Where sessions come from."""

    def check(self) -> None:
        """See that there can be sessions.

        Raises:
            SandboxUnavailable: There can be none here.
        """
        ...

    def open(self, image: Image, limits: Limits) -> Session:
        """A session in the template's state.

        Raises:
            SandboxUnavailable: There can be none here.
        """
        ...


Reply = Mapping[str, Any]
