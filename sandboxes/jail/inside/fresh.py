"""Processes that run one thing and end: a script in an interpreter of its own, or a program.

An interpreter is forked before its code is known and waits for it. So the next call's can be made as soon as this
call's processes are killed, while the kernel still takes back their memory, which costs as much again. It is what a
fork at the beginning of that call would be, because nothing of an agent's ever runs beside it: it is made when all
has been killed, and given up before anything but its own code begins.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from . import interpreter
from .processes import Processes
from .sessions import Notebook
from .starting import Starter


class Fresh(NamedTuple):
    """A process of one call."""

    process: Notebook
    out: int
    err: int

    def close(self) -> None:
        """Let go of all that leads to it."""
        self.process.close()
        os.close(self.out)
        os.close(self.err)


class Nursery:
    """Makes them, and keeps one ready.

    Args:
        starter: Makes processes.
        processes: Of the slot.
    """

    def __init__(self, starter: Starter, processes: Processes) -> None:
        self._starter = starter
        self._processes = processes
        self._ready: Fresh | None = None
        self._made_for: dict[str, Any] = {}
        """Its limits."""

    def script(self, limits: dict[str, Any], others: int) -> Fresh:
        """An interpreter that waits for its code.

        Args:
            limits: Of the call.
            others: Processes that are there and do not count.
        """
        if self._ready is not None and self._made_for == limits and others == 0 and _lives(self._ready.process.pid):
            fresh, self._ready = self._ready, None
            self._starter.allow(limits["processes"])
            return fresh
        self.drop()
        return self._interpreter(limits, others)

    def program(self, limits: dict[str, Any], others: int, stdin: int, body: Callable[[], None]) -> Fresh:
        """A process that runs a program and reports nothing.

        Args:
            limits: Of the call.
            others: Processes that are there and do not count.
            stdin: What it reads.
            body: Runs the program.
        """
        self.drop()
        return self._start(limits, others, stdin, body, told=False)

    def prepare(self, limits: dict[str, Any]) -> None:
        """Make one ahead for a call with these limits. Nothing else may run in the slot."""
        if self._ready is None:
            with suppress(OSError):  # there is no room for it now; there may be when it is needed
                self._ready, self._made_for = self._interpreter(limits, 0), limits

    def pid(self) -> int | None:
        """The number of the one that is ready."""
        return None if self._ready is None else self._ready.process.pid

    def drop(self) -> None:
        """Give up the one that is ready, because something else is to run."""
        fresh, self._ready = self._ready, None
        if fresh is None:
            return
        with suppress(ProcessLookupError):
            os.kill(fresh.process.pid, signal.SIGKILL)
        self._processes.wait(fresh.process.pid)
        fresh.close()

    def _interpreter(self, limits: dict[str, Any], others: int) -> Fresh:
        return self._start(limits, others, self._starter.null, lambda: interpreter.run_script(3), told=True)

    def _start(self, limits: dict[str, Any], others: int, stdin: int, body: Callable[[], None], *, told: bool) -> Fresh:
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        fds = (stdin, out_end, err_end, theirs.fileno() if told else None)
        pid = self._starter.fork(limits, fds, others, cpu=True)
        if pid == 0:
            try:
                body()
            finally:
                os._exit(1)
        theirs.close()
        os.close(out_end)
        os.close(err_end)
        for fd in (out, err):
            os.set_blocking(fd, False)
        ours.setblocking(False)
        return Fresh(Notebook(pid, ours, os.pidfd_open(pid)), out, err)


def _lives(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
