"""The program of a database slot: a template loaded once in memory, and a process per environment forked from it.

It runs where nothing can be reached but its own socket. The program is trusted, the SQL is not: the authorizer, the
limits and the progress handler are the first stop, and the host, which has a process killed that answers too late, is
the wall.

The control socket takes `{"n", "op": "open"}`, answered with a descriptor, and `{"n", "op": "end", "pid"}`. The socket
of each process takes the operations of `Database`. A frame is four bytes of length, little-endian, and JSON.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import struct
import time
from typing import Any

from tir_gym.sandboxes.sql.inside.contents import (
    add_changes,
    changed_texts,
    contents,
    describe,
    encode,
    load,
    table_digest,
    table_names,
    view_texts,
)
from tir_gym.sandboxes.sql.inside.guards import (
    FUNCTIONS,
    HIDDEN_TABLES,
    LARGEST_VALUE,
    PRAGMAS,
    READING,
    ROWS,
    SAYINGS,
    WRITING,
    limit_sizes,
)

MOST_MARKS = 40
"""Savepoints kept to go back to: each one makes later writes a little dearer."""

Request = dict[str, Any]


def main(control: socket.socket, config: dict[str, Any]) -> None:
    """Load the template from the control socket, then serve it. Returns when the host is gone.

    Args:
        control: Socket to the host; the image of the database, `config["size"]` bytes, comes first.
        config: `size`, `now` (the clock, `YYYY-MM-DD HH:MM:SS`), `memory` and `disk` in bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ended processes are waited for
    image = _read(control, config["size"])
    if image is None:
        return
    template = Database(image, config)
    spare = _start(template, control)
    while (request := _receive(control)) is not None:
        if request["op"] == "open":
            pid, end = spare
            _send_descriptor(control, {"n": request["n"], "pid": pid}, end)
            end.close()
            spare = _start(template, control)  # after the answer: the next one finds it ready
        else:
            _send(control, encode({"n": request["n"], "signal": _end(request["pid"])}))


class Database:
    """The database of one environment, inside a transaction that is never committed.

    Args:
        image: The template as SQLite serialises it.
        config: See `main`.
    """

    def __init__(self, image: bytes, config: dict[str, Any]) -> None:
        self._image = image
        self._now: str = config["now"]
        self._write = self._guarded = False
        self._denied: str | None = None
        self._stopped = "time_limit"
        self._touched: set[str] = set()
        self._seen: set[str] = set()
        self._deadline = self._cpu_deadline = float("inf")
        self._random = random.Random(0)
        self._clock = sqlite3.connect(":memory:")
        self._connection = load(image)
        limit_sizes(self._connection, len(image), config["memory"], config["disk"])
        self._fix_functions()
        self._connection.set_authorizer(self._authorize)
        self._connection.set_progress_handler(self._progress, 2000)
        # The schema is read once, before the forks; so are tables that SQLite itself makes, which looks like writing.
        for table in ("sqlite_master", "json_each", "json_tree", *(f"pragma_{name}" for name in PRAGMAS)):
            with contextlib.suppress(sqlite3.OperationalError):  # an older SQLite has not all of them
                self._connection.execute(f"SELECT 1 FROM {table} LIMIT 0")
        self._marks = [0]
        self._connection.execute("SAVEPOINT s0")

    def serve(self, stream: socket.socket) -> None:
        """Answer requests until the host closes the socket."""
        while (request := _receive(stream)) is not None:
            answer: str = getattr(self, f"do_{request['op']}")(request)
            _send(stream, f'{{"n":{request["n"]},{answer[1:]}')

    # Operations: each returns the text of a JSON object.

    def do_run(self, request: Request) -> str:
        """Run the statement `sql`; may it `write`; its `position` in the log, its `seed`, and its limits."""
        self._write, self._denied = request["write"], None
        self._touched, self._seen = set(), set()
        self._random.seed(request["seed"])
        self._prepare(request["position"])
        before = self._connection.total_changes
        self._deadline = time.monotonic() + request["wall"]
        self._cpu_deadline = time.process_time() + request["cpu"]
        self._guarded = True
        try:
            reply, failed = self._fetch(request)
        except Exception as error:  # whatever it is, it is the statement's
            reply, failed = self._explain(error), True
        finally:
            self._guarded = False
            self._deadline = self._cpu_deadline = float("inf")
        if failed or self._connection.total_changes == before:
            changed = 0
        else:  # as servers count: without what follows from keys
            changed = max(1, self._connection.execute("SELECT changes()").fetchone()[0])
        facts = {"touched": sorted(self._touched), "read": sorted(self._seen), "changed": changed}
        if self._settle(failed):
            facts["lost"] = True
        return f"{reply[:-1]},{encode(facts)[1:]}"

    def do_rewind(self, request: Request) -> str:
        """Go back to the nearest savepoint at or before a `position` of the log; the reply says which."""
        position = max(mark for mark in self._marks if mark <= request["position"])
        self._connection.execute(f"ROLLBACK TO s{position}")
        self._marks = [mark for mark in self._marks if mark <= position]
        return encode({"position": position})

    def do_tables(self, request: Request) -> str:
        """Names of tables and views."""
        return encode({"tables": table_names(self._connection, views=True)})

    def do_describe(self, request: Request) -> str:
        """Columns and keys of a `table`."""
        return encode({"table": describe(self._connection, request["table"])})

    def do_digest(self, request: Request) -> str:
        """Digest of each of the `tables`, or of all."""
        tables = table_names(self._connection) if request["tables"] is None else request["tables"]
        digests = {table: table_digest(*contents(self._connection, table)) for table in tables}
        return encode({"tables": digests, "views": view_texts(self._connection)})

    def do_diff(self, request: Request) -> str:
        """What differs from the template in the `tables`, or in all."""
        base = load(self._image)
        base.execute("PRAGMA cache_size = -500")
        tables = request["tables"]
        if tables is None:
            tables = sorted({*table_names(base), *table_names(self._connection)})
        found: dict[str, Any] = {}
        for table in tables:
            add_changes(found, table, contents(base, table), contents(self._connection, table))
        views = changed_texts(view_texts(base), view_texts(self._connection))
        if views:
            found["(views)"] = views
        base.close()
        return encode({"changes": found})

    # One statement.

    def _prepare(self, position: int) -> None:
        execute = self._connection.execute
        if not self._write:
            execute("PRAGMA query_only = 1")
            return
        if position not in self._marks and len(self._marks) < MOST_MARKS:
            execute(f"SAVEPOINT s{position}")
            self._marks.append(position)
        execute("SAVEPOINT call")

    def _fetch(self, request: Request) -> tuple[str, bool]:
        """The reply, and whether it is an error: rows that fit are part of one that says that there are more."""
        cursor = self._connection.execute(request["sql"])
        columns = [column[0] for column in cursor.description or ()]
        rows: list[str] = []
        size, truncated, over = len(encode(columns)), False, False
        for row in cursor:
            if len(rows) == request["rows"]:
                truncated = True
                break
            text = encode(row)
            size += len(text) + 1
            if size > request["output"]:
                truncated = over = True
                break
            rows.append(text)
        cursor.close()
        if time.process_time() > self._cpu_deadline:
            self._stopped = "cpu_limit"
            raise sqlite3.OperationalError("interrupted")
        head = '"error":"too large","kind":"output_limit",' if over else ""
        told = "true" if truncated else "false"
        return f'{{{head}"columns":{encode(columns)},"rows":[{",".join(rows)}],"truncated":{told}}}', over

    def _explain(self, error: Exception) -> str:
        text, kind = str(error), "raised"
        if isinstance(error, MemoryError):
            kind = "memory_limit"
        elif "interrupted" in text:
            kind = self._stopped
        elif "disk is full" in text:
            kind = "disk_limit"
        elif self._denied is not None and ("authoriz" in text or "prohibited" in text):
            text, kind = f"{self._denied} is not allowed here", "refused"
        elif "one statement at a time" in text:
            text, kind = "send one statement at a time", "refused"
        elif "readonly database" in text:
            text, kind = "writing is not allowed here", "refused"
        return encode({"error": text[:2000], "kind": kind})

    def _settle(self, failed: bool) -> bool:
        """Keep or undo the statement; whether the whole transaction is lost.

        An interrupted write, `OR ROLLBACK` and a full database take all savepoints along.
        """
        execute = self._connection.execute
        lost = not self._connection.in_transaction
        if lost:
            self._marks = [0]
            execute("SAVEPOINT s0")
        elif self._write:
            if failed:
                execute("ROLLBACK TO call")
            execute("RELEASE call")
        if not self._write:
            execute("PRAGMA query_only = 0")
        return lost

    # Guards.

    def _authorize(
        self, action: int, first: str | None, second: str | None, schema: str | None, _source: str | None
    ) -> int:
        if not self._guarded or action in READING:
            return sqlite3.SQLITE_OK
        name = (first or "").lower()
        if action == sqlite3.SQLITE_READ and name not in HIDDEN_TABLES:
            self._seen.add(first or "")
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            return self._allow((second or "").lower() in FUNCTIONS, f"the function {second}")
        if action == sqlite3.SQLITE_PRAGMA:
            return self._allow(name in PRAGMAS, f"PRAGMA {first}")
        if action not in WRITING:
            return self._allow(False, SAYINGS.get(action, "this statement"))
        if action not in ROWS:
            self._touched.add("*")
        elif name not in ("sqlite_master", "sqlite_sequence"):
            self._touched.add(first or "")
        if not self._write:
            return self._allow(False, "writing")
        return self._allow(schema in (None, "main"), "writing to another schema than main")

    def _allow(self, allowed: bool, what: str) -> int:
        if allowed:
            return sqlite3.SQLITE_OK
        self._denied = what
        return sqlite3.SQLITE_DENY

    def _progress(self) -> int:
        if time.monotonic() > self._deadline:
            self._stopped = "time_limit"
        elif time.process_time() > self._cpu_deadline:
            self._stopped = "cpu_limit"
        else:
            return 0
        return 1

    def _fix_functions(self) -> None:
        """The clock stands still and chance comes from the seed, so that a statement gives the same twice."""
        make, now = self._connection.create_function, self._now
        make("random", 0, lambda: self._random.getrandbits(64) - (1 << 63))
        make("randomblob", 1, lambda size: self._random.randbytes(min(max(int(size), 1), LARGEST_VALUE)))
        for name, value in (("timestamp", now), ("date", now[:10]), ("time", now[11:])):
            make(f"current_{name}", 0, lambda value=value: value)
        for name in ("date", "time", "datetime", "julianday", "strftime", "unixepoch"):
            make(name, -1, lambda *given, name=name: self._at(name, list(given)))

    def _at(self, name: str, given: list[Any]) -> Any:
        if len(given) == (name == "strftime"):
            given.append("now")
        given = [self._now if isinstance(one, str) and one.strip().lower() == "now" else one for one in given]
        return self._clock.execute(f"SELECT {name}({','.join('?' * len(given))})", given).fetchone()[0]


def _start(template: Database, control: socket.socket) -> tuple[int, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            ours.close()
            template.serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    return pid, ours


def _end(pid: int) -> int:
    """Kill a process; the signal that it had died of before, 0 for none."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return max(0, -os.waitstatus_to_exitcode(status))
        with contextlib.suppress(PermissionError):  # where no signals are allowed, the host has sent it
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    return 0


def _read(stream: socket.socket, size: int) -> bytes | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = stream.recv_into(view)
        if not got:
            return None
        view = view[got:]
    return bytes(data)


def _receive(stream: socket.socket) -> Request | None:
    head = _read(stream, 4)
    body = None if head is None else _read(stream, struct.unpack("<I", head)[0])
    return None if body is None else json.loads(body)


def _send(stream: socket.socket, text: str) -> None:
    data = text.encode()
    stream.sendall(struct.pack("<I", len(data)) + data)


def _send_descriptor(stream: socket.socket, message: Request, end: socket.socket) -> None:
    text = encode(message).encode()
    data = struct.pack("<I", len(text)) + text
    passed = array.array("i", [end.fileno()])
    sent = stream.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    stream.sendall(data[sent:])
