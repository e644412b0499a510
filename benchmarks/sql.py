"""The SQL sandbox: calls, resets, pictures, and a thousand live environments; on PostgreSQL too where a URL is given.

    python benchmarks/sql.py [--live 1000] [--url postgresql://user@host/database]

Milliseconds on the clock, median and best of many, on a database of some 10 MB with 270,000 rows. A reset is going back
to the template after a write of 70 rows and asking the first query again. Memory is what the machine has less of
(`MemAvailable`), divided by the environments, so let nothing else run.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tir_gym.records import ToolCall
from tir_gym.sandboxes.sql import Image, SqlSandbox, make_image

SCHEMA = """
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people (id), total INTEGER NOT NULL);
CREATE INDEX orders_by_person ON orders (person);
"""
READ = ToolCall(
    "query",
    {"sql": "SELECT name, SUM(total) FROM people p JOIN orders o ON o.person = p.id WHERE p.id = 7 GROUP BY name"},
)
WRITE = ToolCall("execute", {"sql": "UPDATE orders SET total = total + 1 WHERE id <= 70"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=1000, help="environments at one time")
    parser.add_argument("--url", help="a PostgreSQL server whose user may create databases and roles")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, Linux {platform.release()}")
    image = _image()
    print(f"database: {len(image.data) / 1e6:.1f} MB")
    _starts(image)
    _sandbox("SQLite", image, None)
    _live(image, options.live)
    if options.url:
        _postgres(image, options.url)


def _image() -> Image:
    people = [(i, f"person number {i} of this benchmark") for i in range(1, 70_001)]
    orders = [(i, i % 70_000 + 1, i) for i in range(1, 200_001)]
    return make_image({"schema": SCHEMA, "rows": {"people": people, "orders": orders}}, "2025-01-06 09:00:00")


def _starts(image: Image) -> None:
    began = time.perf_counter()
    sandbox = SqlSandbox(image)
    _good(sandbox, READ)
    print(f"first call of all, zygote and slot started: {1000 * (time.perf_counter() - began):.0f} ms")
    sandbox.close()
    found = []
    for number in range(12):
        other = make_image({"schema": f"CREATE TABLE t{number} (a INTEGER)"}, "2025-01-06 09:00:00")
        sandbox = SqlSandbox(other)
        began = time.perf_counter()
        sandbox.call(ToolCall("query", {"sql": "SELECT 1"}))
        found.append(time.perf_counter() - began)
        sandbox.close()
    print(f"first call on another small template, its slot started: {_told(found)}")


def _sandbox(name: str, image: Image, url: str | None) -> None:
    sandbox = SqlSandbox(image, url=url)
    began = time.perf_counter()
    _good(sandbox, READ)
    print(f"{name}: first call {1000 * (time.perf_counter() - began):.1f} ms")
    print(f"{name}: query {_timed(lambda: _good(sandbox, READ), 300)}")
    start = sandbox.snapshot()
    print(f"{name}: write of 70 rows {_timed(lambda: _good(sandbox, WRITE), 60)}")
    sandbox.restore(start)

    def reset() -> None:
        sandbox.restore(start)
        _good(sandbox, READ)

    print(f"{name}: reset {_timed(reset, 100, before=lambda: _good(sandbox, WRITE))}")

    def fresh() -> None:
        nonlocal sandbox
        sandbox.close()
        sandbox = sandbox.fork()
        sandbox.restore(start)
        _good(sandbox, READ)

    print(f"{name}: close, and the next environment {_timed(fresh, 100, before=lambda: _good(sandbox, WRITE))}")
    _good(sandbox, WRITE)
    one = sandbox.snapshot()

    def back() -> None:
        sandbox.restore(one)
        _good(sandbox, READ)

    print(f"{name}: back to a picture {_timed(back, 60, before=lambda: _good(sandbox, WRITE))}")
    sandbox.restore(one)
    print(f"{name}: snapshot {_timed(sandbox.snapshot, 60)}")
    _ = image.digests
    print(f"{name}: digest, one table of 200,000 rows touched {_timed(sandbox.digest, 5)}")
    print(f"{name}: diff, likewise {_timed(sandbox.diff, 5)}")
    sandbox.close()


def _live(image: Image, count: int) -> None:
    with ExitStack() as stack:
        _good(stack.enter_context(SqlSandbox(image)), READ)
        before, began = _available(), time.perf_counter()
        sandboxes = [stack.enter_context(SqlSandbox(image)) for _ in range(count)]
        for sandbox in sandboxes:
            _good(sandbox, READ)
        seconds = time.perf_counter() - began
        print(f"SQLite: {count} live environments in {seconds:.1f} s ({1000 * seconds / count:.1f} ms each), ", end="")
        print(f"{(before - _available()) / count / 2**20:.2f} MiB each")
        for call, what in ((READ, "query"), (WRITE, "write of 70 rows")):
            began = time.perf_counter()
            for sandbox in sandboxes:
                _good(sandbox, call)
            seconds = time.perf_counter() - began
            print(f"SQLite: one {what} in each: {seconds:.2f} s, {count / seconds:.0f} calls/s")
        print(f"SQLite: {(before - _available()) / count / 2**20:.2f} MiB each afterwards")
        began = time.perf_counter()
    print(f"SQLite: all closed in {time.perf_counter() - began:.1f} s")


def _postgres(image: Image, url: str) -> None:
    import psycopg

    from tir_gym.sandboxes.sql.postgres_server import server_at

    began = time.perf_counter()
    with SqlSandbox(image, url=url) as sandbox:
        _good(sandbox, READ)
        print(f"PostgreSQL: template made and filled, first call {time.perf_counter() - began:.2f} s")
    _sandbox("PostgreSQL", image, url)
    server: Any = server_at(url)
    template, _ = server._templates[image.key]
    made: list[str] = []

    def copy() -> None:
        made.append(f"{template}_copy{len(made)}")
        server._admin.execute(f"CREATE DATABASE {made[-1]} TEMPLATE {template}")

    print(f"PostgreSQL: CREATE DATABASE from the template {_timed(copy, 10)}")
    print(f"PostgreSQL: DROP DATABASE {_timed(lambda: server._admin.execute(f'DROP DATABASE {made.pop()}'), 10)}")
    sandbox = SqlSandbox(image, url=url)
    _good(sandbox, READ)
    connection: psycopg.Connection[Any] = sandbox._session._connection  # type: ignore[union-attr]

    def rollback() -> None:
        connection.pgconn.exec_(b"ROLLBACK TO s0")

    def write() -> None:
        connection.pgconn.exec_(b"UPDATE orders SET total = total + 1 WHERE id <= 70")

    print(f"PostgreSQL: ROLLBACK TO SAVEPOINT alone {_timed(rollback, 60, before=write)}")
    sandbox.close()


def _good(sandbox: SqlSandbox, call: ToolCall) -> None:
    result = sandbox.call(call)
    if not result.ok:
        raise SystemExit(f"{call}: {result.error}")


def _timed(work: Callable[[], Any], runs: int, before: Callable[[], Any] | None = None) -> str:
    found = []
    for _ in range(runs):
        if before is not None:
            before()
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return _told(found)


def _told(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.3f} ms (best {1000 * min(seconds):.3f})"


def _available() -> int:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


if __name__ == "__main__":
    main()
