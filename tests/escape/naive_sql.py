"""SQL without protection, as toy environments run it: a connection, whatever statement comes, and a savepoint to undo.

`python naive_sql.py` reads `{"statements": [...], "url": null or PostgreSQL's}` and prints what came of it as JSON.
"""

import json
import sqlite3
import sys


def fill(run):
    run("CREATE TABLE orders (id INTEGER PRIMARY KEY, person INTEGER, total INTEGER)")
    run("INSERT INTO orders VALUES (1, 1, 50), (2, 1, 70), (3, 2, 20)")
    run("CREATE TABLE big (i INTEGER)")
    run("INSERT INTO big VALUES " + ", ".join(f"({i})" for i in range(200)))


def sqlite(statements):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    if hasattr(connection, "enable_load_extension"):  # not in every Python
        connection.enable_load_extension(True)
    fill(connection.execute)
    connection.execute("BEGIN")
    shown = attempt(lambda sql: connection.execute(sql).fetchall(), statements, connection.executescript)
    before = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    try:
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        shown.append(f"undo: {error}")
    return shown, (before, connection.execute("SELECT count(*) FROM orders").fetchone()[0])


def postgres(statements, url):
    import psycopg

    connection = psycopg.connect(url, autocommit=True)
    connection.execute("DROP SCHEMA IF EXISTS naive CASCADE")
    connection.execute("CREATE SCHEMA naive")
    connection.execute("SET search_path = naive")
    fill(connection.execute)
    alone = ("CREATE DATABASE", "ALTER SYSTEM")
    if not statements[0].startswith(alone):
        connection.execute("BEGIN")

    def run(sql):
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else None

    shown = attempt(run, statements, run)
    try:
        before = connection.execute("SELECT count(*) FROM naive.orders").fetchone()[0]
    except psycopg.Error:
        before = 3
    connection.execute("ROLLBACK")
    count = connection.execute("SELECT count(*) FROM naive.orders").fetchone()[0]
    for clean in (
        "DROP SCHEMA naive CASCADE",
        "ALTER SYSTEM RESET ALL",
        *(f"DROP DATABASE IF EXISTS {sql.split()[2]}" for sql in statements if sql.startswith("CREATE DATABASE")),
        "DROP ROLE IF EXISTS mine",
        "DROP EXTENSION IF EXISTS file_fdw",
    ):
        connection.execute(clean)
    return shown, (before, count)


def attempt(run, statements, script):
    shown = []
    for sql in statements:
        try:
            shown.append(repr(script(sql) if ";" in sql and not sql.startswith("CREATE TRIGGER") else run(sql)))
        except Exception as error:
            shown.append(f"{type(error).__name__}: {error}")
    return shown


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    shown, counts = postgres(asked["statements"], asked["url"]) if asked["url"] else sqlite(asked["statements"])
    print(json.dumps({"shown": shown, "orders": counts}))
