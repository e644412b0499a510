"""SQLite for many environments: a slot per template, in which a process per environment is forked (`inside/`).

The host keeps one socket to each slot and one to each environment's process. It decides when a process has taken too
long; the slot then kills it. Slots without environments are kept for a while, because tasks come back.
"""

from __future__ import annotations

import array
import base64
import errno
import inspect
import json
import logging
import marshal
import os
import select
import socket
import struct
import threading
import time
import weakref
from collections import OrderedDict, deque
from contextlib import suppress
from functools import lru_cache
from typing import Any

from tir_gym.errors import SandboxDied, SandboxUnavailable
from tir_gym.sandbox import MIB, Limits
from tir_gym.sandboxes.jail.slot import start_slot
from tir_gym.sandboxes.jail.tiers import Tier, choose
from tir_gym.sandboxes.sql.image import Image
from tir_gym.sandboxes.sql.inside import contents, guards, program
from tir_gym.sandboxes.sql.session import GONE, SessionLost, Statement

log = logging.getLogger("tir_gym.sandbox")

IDLE_SLOTS = 8
"""Slots without environments that stay."""
IDLE_PROCESSES = 4
"""Processes of a slot that stay for the next environment, back in the template's state."""
GRACE = 0.25
"""Seconds that a process has beyond its limit to stop by itself."""
WORK_SECONDS = 120.0
"""Seconds for what is not the agent's: loading, digests, diffs, going back."""
LARGEST_FRAME = 256 * MIB

MODULES = ("sqlite3", "hashlib", "json", "random", "resource", "base64")
"""What the program needs, imported once for all slots."""


@lru_cache(maxsize=1)
def _program() -> str:
    """The modules of `inside`, each under its name, as one text: a slot sees none of this package's files.

    They are compiled here, once, for the same interpreter: in each slot that would take longer than all else.
    """
    lines = ["import base64, marshal, sys, types"]
    for module in (contents, guards, program):
        code = compile(inspect.getsource(module), module.__name__, "exec")
        lines += [
            f"sys.modules[{module.__name__!r}] = module = types.ModuleType({module.__name__!r})",
            f"exec(marshal.loads(base64.b64decode({base64.b64encode(marshal.dumps(code))!r})), module.__dict__)",
        ]
    return "\n".join([*lines, "main = module.main"])


class SqliteBackend:
    """SQLite in slots of this process.

    Args:
        require: See `SqlSandbox`.
    """

    def __init__(self, require: Tier | None) -> None:
        self._require: Tier | None = require

    def check(self) -> None:
        choose(self._require)

    def open(self, image: Image, limits: Limits) -> SqliteSession:
        for attempt in (1, 2):
            slot = _slots.get(image, limits, choose(self._require))
            try:
                return slot.open()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    raise SandboxUnavailable(
                        "sql: too many open files in this process; close sandboxes or raise `ulimit -n`"
                    ) from error
                slot.close()
                if attempt == 2:
                    raise SandboxDied(f"sql: the slot of the database went away: {error}") from error
        raise AssertionError  # the loop returns or raises


class SqliteSession:
    """One environment's process; see `Session`.

    All that a process is told stays inside one transaction. So one that is given back is rolled back to the template
    and serves the next environment of this host process; unless a limit was reached in it, which ends it.
    """

    def __init__(self, slot: _Slot, stream: socket.socket, pid: int) -> None:
        self._slot = slot
        self._stream = stream
        self._pid = pid
        self._owner = os.getpid()
        self._number = 0
        self._spent = False
        self._forgotten = weakref.finalize(self, _forget, slot, stream, pid)

    @property
    def usable(self) -> bool:
        return self._forgotten.alive and self._owner == os.getpid()

    def run(self, statement: Statement) -> dict[str, Any]:
        limits = statement.limits
        reply = self._request(
            "run",
            limits.wall_seconds + GRACE,
            limits.output + MIB,
            sql=statement.sql,
            write=statement.write,
            position=statement.position,
            seed=statement.seed,
            wall=limits.wall_seconds,
            cpu=limits.cpu_seconds,
            output=limits.output,
            rows=statement.rows,
        )
        self._spent |= "lost" in reply or reply.get("kind", "").endswith("_limit")
        return reply

    def rewind(self, position: int) -> int:
        return int(self._request("rewind", position=position)["position"])

    def tables(self) -> list[str]:
        return list(self._request("tables")["tables"])

    def describe(self, table: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._request("describe", table=table)["table"]
        return found

    def digests(self, tables: list[str] | None) -> dict[str, Any]:
        return self._request("digest", tables=tables)

    def changes(self, tables: list[str] | None) -> dict[str, Any]:
        found: dict[str, Any] = self._request("diff", tables=tables)["changes"]
        return found

    def close(self) -> None:
        if not self.usable:
            return
        try:
            keep = not self._spent and self._slot.has_room
            if keep and self.rewind(0) == 0 and self._slot.keep(self._stream, self._pid):
                self._forgotten.detach()
        except SessionLost:
            return
        self._kill()

    def _request(
        self, op: str, seconds: float = WORK_SECONDS, largest: int = LARGEST_FRAME, **fields: Any
    ) -> dict[str, Any]:
        self._number += 1
        try:
            _send(self._stream, {"n": self._number, "op": op, **fields})
            reply = _receive(self._stream, seconds, largest)
        except TimeoutError:
            self._kill()
            raise SessionLost("time_limit") from None
        except (OSError, ValueError):
            signal = self._kill()
            raise SessionLost(_KINDS.get(signal, "died") if self._slot.usable else GONE) from None
        except BaseException:  # Ctrl-C: an answer is on its way that nobody will wait for
            self._kill()
            raise
        if reply.get("n") != self._number:
            self._kill()
            raise SessionLost("died")
        return reply

    def _kill(self) -> int:
        """End the process, if it has not been; the signal that it died of."""
        if not self._forgotten.detach():
            return 0
        self._stream.close()
        return self._slot.end(self._pid) if self._owner == os.getpid() else 0


_KINDS = {9: "memory_limit", 24: "cpu_limit"}
"""What the slot kills for: SIGKILL by its watch over memory, SIGXCPU."""


def _forget(slot: _Slot, stream: socket.socket, pid: int) -> None:
    """Let go of a process whose session was collected; it ends by itself when its socket closes.

    Collection may happen anywhere, in the middle of a request to the slot too, so the slot is told later.
    """
    stream.close()
    slot.forgotten.append(pid)


class _Slot:
    """A slot with one template."""

    def __init__(self, image: Image, limits: Limits, tier: Tier) -> None:
        self.forgotten: deque[int] = deque()
        """Processes that the slot has to be told to bury."""
        self._held = 0
        self._idle: list[tuple[socket.socket, int]] = []
        self._lock = threading.RLock()
        self._number = 0
        config = {"size": len(image.data), "now": image.now, "memory": limits.memory, "disk": limits.disk}
        self._slot = start_slot(limits, modules=MODULES, program=_program(), config=config, tier=tier)
        self._stream = self._slot.socket
        self._owner = os.getpid()
        self._alive = True
        try:
            self._stream.settimeout(WORK_SECONDS)
            self._stream.sendall(image.data)
        except OSError:
            self.close()
            raise

    @property
    def usable(self) -> bool:
        return self._alive and self._owner == os.getpid()

    @property
    def sessions(self) -> int:
        """How many live."""
        return self._held - len(self.forgotten)

    def open(self) -> SqliteSession:
        with self._lock:
            self._bury()
            if self._idle:
                stream, pid = self._idle.pop()
            else:
                try:
                    self._number += 1
                    _send(self._stream, {"n": self._number, "op": "open"})
                    reply, ends = _receive_with_descriptors(self._stream)
                except OSError:
                    raise
                except BaseException:
                    self.close()  # an answer is on its way that nobody will wait for
                    raise
                stream, pid = socket.socket(fileno=ends[0]), int(reply["pid"])
                stream.settimeout(WORK_SECONDS)
            self._held += 1
            return SqliteSession(self, stream, pid)

    @property
    def has_room(self) -> bool:
        """Whether a process may stay for the next environment."""
        return self.usable and len(self._idle) < IDLE_PROCESSES

    def keep(self, stream: socket.socket, pid: int) -> bool:
        """Take a process back that is in the template's state; whether there was room for it."""
        with self._lock:
            if not self.has_room:
                return False
            self._idle.append((stream, pid))
            self._held -= 1
        _slots.tidy()
        return True

    def end(self, pid: int) -> int:
        """End a process; the signal that it had died of, 0 where it was alive."""
        with self._lock:
            self._held -= 1
            signal = self._end(pid)
            self._bury()
        _slots.tidy()
        return signal

    def _bury(self) -> None:
        while self.forgotten:
            self._held -= 1
            self._end(self.forgotten.popleft())

    def _end(self, pid: int) -> int:
        if not self.usable:
            return 0
        try:
            if self._slot.tier != "A":  # no numbers of its own, and no signals from inside
                with suppress(OSError):
                    os.kill(pid, 9)
            self._number += 1
            _send(self._stream, {"n": self._number, "op": "end", "pid": pid})
            return int(_receive(self._stream, WORK_SECONDS, MIB)["signal"])
        except (OSError, ValueError):
            self.close()
            return 0
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._alive:
            self._alive = False
            for stream, _ in self._idle:
                stream.close()
            self._slot.close()


class _Slots:
    """The slots of this process by template and limits, the least recently used first."""

    def __init__(self) -> None:
        self._slots: OrderedDict[tuple[str, int, int, str], _Slot] = OrderedDict()
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._forget)

    def get(self, image: Image, limits: Limits, tier: Tier) -> _Slot:
        key = (image.key, limits.memory, limits.disk, tier)
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or not slot.usable:
                slot = self._slots[key] = _Slot(image, limits, tier)
            self._slots.move_to_end(key)
        self.tidy()
        return slot

    def tidy(self) -> None:
        """Close slots that nobody uses, but for the last few."""
        with self._lock:
            idle = [key for key, slot in self._slots.items() if slot.sessions == 0]
            gone = [self._slots.pop(key) for key in idle[: max(0, len(idle) - IDLE_SLOTS)]]
        for slot in gone:
            slot.close()

    def _forget(self) -> None:
        self._slots = OrderedDict()
        self._lock = threading.RLock()


_slots = _Slots()


def _send(stream: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    stream.sendall(struct.pack("<I", len(data)) + data)


def _receive(stream: socket.socket, seconds: float, largest: int) -> dict[str, Any]:
    """A frame, whole within that many seconds.

    Raises:
        TimeoutError: It is not there in time.
        OSError: The other side is gone.
        ValueError: It is larger than it may be, or no JSON object.
    """
    deadline = time.monotonic() + seconds
    (size,) = struct.unpack("<I", _read(stream, 4, deadline))
    if size > largest:
        raise ValueError(f"a frame of {size} bytes")
    message = json.loads(_read(stream, size, deadline))
    if not isinstance(message, dict):
        raise ValueError("no object")
    return message


def _read(stream: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    waiting = select.poll()
    waiting.register(stream, select.POLLIN)
    while len(data) < size:
        if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        got = stream.recv(min(size - len(data), MIB))
        if not got:
            raise ConnectionError("the process closed its socket")
        data += got
    return bytes(data)


def _receive_with_descriptors(stream: socket.socket) -> tuple[dict[str, Any], list[int]]:
    ends = array.array("i")
    head, passed, _, _ = stream.recvmsg(4, socket.CMSG_SPACE(ends.itemsize))
    for level, kind, data in passed:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            ends.frombytes(data[: len(data) - len(data) % ends.itemsize])
    deadline = time.monotonic() + WORK_SECONDS
    if not head:
        raise ConnectionError("the slot closed its socket")
    head += _read(stream, 4 - len(head), deadline)
    message = json.loads(_read(stream, struct.unpack("<I", head)[0], deadline))
    if not ends:
        raise OSError(errno.EMFILE, "no descriptor came: too many open files")
    return message, list(ends)
