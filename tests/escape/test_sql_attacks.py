"""Attacks in SQL on the sandbox `sql`, and on a connection without protection.

On PostgreSQL too where `TIR_GYM_POSTGRES_URL` names a server and its owner (`make test-postgres`).
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from escape.sql_cases import POSTGRES, SQLITE, SqlCase
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox

URL = os.environ.get("TIR_GYM_POSTGRES_URL")
GRACE = 5.0
DATABASE = {
    "schema": """
        CREATE TABLE orders (id INTEGER PRIMARY KEY, person INTEGER, total INTEGER);
        CREATE TABLE big (i INTEGER);
    """,
    "rows": {"orders": [(1, 1, 50), (2, 1, 70), (3, 2, 20)], "big": [(i,) for i in range(200)]},
}
ON_SQLITE = [pytest.param(case, None, id=case.name) for case in SQLITE]
ON_POSTGRES = [pytest.param(case, URL, id=case.name) for case in POSTGRES] if URL else []


class Canaries:
    """What of the host, and of its server, an attack in SQL could reach."""

    def __init__(self, folder: Path) -> None:
        self.secret = f"tirkey-{secrets.token_hex(12)}"
        self.folder = folder
        for above in (folder, *list(folder.parents)[:2]):
            above.chmod(0o755)  # a server reads and writes as another user
        (folder / "public").mkdir()
        (folder / "public").chmod(0o777)
        (folder / "secret.txt").write_text(self.secret)
        with sqlite3.connect(folder / "other.db") as other:
            other.execute("CREATE TABLE secrets (word TEXT)")
            other.execute("INSERT INTO secrets VALUES (?)", (self.secret,))
        self.victim: Any = None
        if URL:
            self._open_victim()

    def statements(self, case: SqlCase) -> list[str]:
        folder = str(self.folder)
        told = {"public": f"{folder}/public", "secret": f"{folder}/secret.txt", "other": f"{folder}/other.db"}
        told["token"] = f"t{self.secret[7:17]}"
        return [_filled(sql, told) for sql in case.statements]

    def found(self, case: SqlCase, shown: str) -> dict[str, str]:
        hits = {}
        if self.secret in shown:
            hits["secret"] = "shown to the attacker"
        if planted := list((self.folder / "public").iterdir()):
            hits["planted"] = f"{planted}"
        words = _filled(case.words, {"public": f"{self.folder}/public"})
        if words and words in shown:
            hits["said"] = words
        if self.victim is not None:
            try:
                self.victim.execute("SELECT 1")
            except Exception as error:
                hits["victim"] = repr(error)
        return hits

    def close(self) -> None:
        if self.victim is not None:
            self.victim.close()
            with _owner() as owner:
                owner.execute("DROP ROLE IF EXISTS victim")

    def _open_victim(self) -> None:
        """Somebody else's connection, which has just asked something secret."""
        import psycopg

        assert URL is not None
        with _owner() as owner:
            owner.execute("DROP ROLE IF EXISTS victim")
            owner.execute("CREATE ROLE victim LOGIN")
        self.victim = psycopg.connect(_plain(URL).replace("tests@", "victim@"), autocommit=True)
        self.victim.execute(f"SELECT '{self.secret}'")


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[Canaries]:
    watching = Canaries(tmp_path)
    yield watching
    watching.close()


@pytest.mark.parametrize(("case", "url"), [*ON_SQLITE, *ON_POSTGRES])
def test_attack_fails(case: SqlCase, url: str | None, canaries: Canaries) -> None:
    limits = {"wall_seconds": 5.0, "cpu_seconds": 5.0, **case.limits}
    with make_sandbox("sql", database=DATABASE, limits=limits, url=url) as sandbox:
        start = sandbox.snapshot()
        first = sandbox.digest()
        shown = []
        for sql in canaries.statements(case):
            began = time.monotonic()
            result = sandbox.call(ToolCall(case.tool, {"sql": sql}))
            took = time.monotonic() - began
            assert took < limits["wall_seconds"] + GRACE, f"{took} s: {sql[:200]}"
            # What a statement says of itself in an error is the attacker's own text.
            shown.append(json.dumps(result.content) + (result.error or "").replace(sql, ""))
            assert result.error_kind in (None, "refused", "raised", "died", *LIMITS), result
        if case.tool == "query":
            assert sandbox.digest() == first, "a tool that only reads has written"
        sandbox.restore(start)
        assert sandbox.digest() == first, "going back does not undo it"
        told = sandbox.call(ToolCall("query", {"sql": "SELECT count(*), sum(total) FROM orders"}))
        assert told.content["rows"] == [[3, 140]], told
    text = "\n".join(shown)
    assert len(text) < 3 << 20
    if case.name == "sql_deep":
        assert "alive" in text
    assert canaries.found(case, text) == {}, text[-2000:]


LIMITS = ("time_limit", "cpu_limit", "memory_limit", "disk_limit", "output_limit", "invalid_arguments")


@pytest.mark.parametrize(("case", "url"), [*ON_SQLITE, *ON_POSTGRES])
def test_statement_gets_through_where_nothing_protects(case: SqlCase, url: str | None, canaries: Canaries) -> None:
    if case.control:
        pytest.skip(case.control)
    if case.name == "sql_load_extension" and not hasattr(sqlite3.Connection, "enable_load_extension"):
        pytest.skip("this Python loads no SQLite extensions at all")
    asked = {"statements": canaries.statements(case), "url": _plain(url) if url else None}
    limits = ["prlimit", f"--as={2 << 30}"]  # the machine is to live
    command = [*limits, sys.executable, str(Path(__file__).parent / "naive_sql.py")]
    patience = 2.0 if "time" in case.canary else 20.0
    try:
        done = subprocess.run(
            command, input=json.dumps(asked), capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        assert "time" in case.canary
        return
    if done.returncode:
        assert {"memory", "infrastructure"} & set(case.canary.split()), done.stderr
        return
    told = json.loads(done.stdout)
    text = "\n".join(told["shown"])
    hits = canaries.found(case, text)
    at_the_end, undone = told["orders"]
    if undone != 3 or (case.tool == "query" and at_the_end != 3):
        hits["state"] = f"of 3 orders {at_the_end} are left, {undone} after undoing"
    if len(text) > 3 << 20:
        hits["output"] = f"{len(text)} characters"
    if "DecodeError" in text or "OperationalError: Could not decode" in text:
        hits["infrastructure"] = "the host could not read what came back"
    assert set(case.canary.split()) & hits.keys(), f"the attack is broken: {text[-2000:]}"


def _filled(text: str, told: dict[str, str]) -> str:
    for name, value in told.items():
        text = text.replace("{" + name + "}", value)
    return text


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def _owner() -> Any:
    import psycopg

    assert URL is not None
    return psycopg.connect(_plain(URL), autocommit=True)
