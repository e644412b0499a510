"""The notebook of a slot and its snapshots: processes that live from call to call.

A snapshot is a copy of the notebook's process that waits on a socket of its own. Going back to it makes a copy of the
copy, so it can be gone back to again; neither depends on how much the notebook holds.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import Any, NamedTuple

from . import interpreter
from .processes import CLOCK_TICKS, Processes, cpu_clock
from .starting import SPARE_PROCESSES, Starter

PATIENCE = 6.0
"""Seconds that a notebook has to take an order, and again to make a copy of itself. The host waits longer than for
both, so a notebook that spoils its own snapshots loses its variables and does not end the slot."""

COPYING = 2
"""Processes that a copy takes while it is made: itself, and in a notebook with threads one in between."""


class Notebook(NamedTuple):
    """A living interpreter, or a picture of one."""

    pid: int
    control: socket.socket
    ended: int
    """Becomes readable when it ends (pidfd)."""

    def order(self, what: bytes, nonce: bytes, seed: int = 0, code: bytes = b"", pass_on: int | None = None) -> bool:
        """Tell it to do something; False if it is gone."""
        head = interpreter.ORDER.pack(what, nonce, seed, len(code))
        ancillary = []
        if pass_on is not None:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", pass_on))]
        data = memoryview(head + code)
        deadline = None
        while data:
            try:
                sent = self.control.sendmsg([data], ancillary)
            except BlockingIOError:  # it is slow to take so much code
                deadline = deadline or time.monotonic() + PATIENCE
                if not select.select([], [self.control], [], max(0.0, deadline - time.monotonic()))[1]:
                    return False
                continue
            except OSError:
                return False
            data, ancillary = data[sent:], []
        return True

    def close(self) -> None:
        self.control.close()
        os.close(self.ended)


class Sessions:
    """The current notebook and the snapshots of a slot.

    Args:
        starter: Makes processes.
        processes: Of the slot.
    """

    def __init__(self, starter: Starter, processes: Processes) -> None:
        self._starter = starter
        self._processes = processes
        self.current: Notebook | None = None
        self.pictures: dict[int, Notebook] = {}
        self.lost = False
        """Whether variables are gone that the agent may expect."""
        self._pipes: tuple[int, int, int, int] | None = None
        self._clock = 0.0
        self._children = 0.0
        self._most = 0
        """Processes that the call of the notebook at hand, or the last one, may have."""

    def pids(self) -> set[int]:
        """All processes that are to live on, the current notebook and snapshots."""
        kept = self.picture_pids()
        if self.current is not None:
            kept.add(self.current.pid)
        return kept

    def picture_pids(self) -> set[int]:
        """The snapshots' processes."""
        return {picture.pid for picture in self.pictures.values()}

    def begin(self, limits: dict[str, Any], seed: int) -> Notebook:
        """The current notebook, a new one if there is none."""
        self._most = limits["processes"]
        if self.current is not None:
            self._starter.allow(self._most + len(self.pictures))
            return self.current
        _, out_end, _, err_end = self._pipes or self._make_pipes()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        fds = (self._starter.null, out_end, err_end, theirs.fileno())
        pid = self._starter.fork(limits, fds, len(self.pictures), cpu=False)
        if pid == 0:
            try:
                interpreter.serve(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, 3), seed)
            finally:
                os._exit(1)
        theirs.close()
        self.current = Notebook(pid, ours, os.pidfd_open(pid))
        self._clock = self._children = 0.0
        return self.current

    def outputs(self) -> tuple[int, int]:
        """Where notebooks' output and errors come from."""
        pipes = self._pipes or self._make_pipes()
        return pipes[0], pipes[2]

    def total_cpu(self) -> float:
        """Seconds of processor time that the current notebook had used after its last call."""
        return self._clock + self._children

    def quiet_clock(self) -> float:
        """`total_cpu` without children."""
        return self._clock

    def spent(self, *, thoroughly: bool) -> float:
        """Seconds of processor time of the current notebook since the last time this was asked.

        Args:
            thoroughly: Also look for children that it has waited for.
        """
        if self.current is None:
            return 0.0
        clock = cpu_clock(self.current.pid)
        children = self._children
        if thoroughly:
            fields = self._processes.stat(self.current.pid)
            children = (int(fields[13]) + int(fields[14])) / CLOCK_TICKS if fields else children
        spent = max(0.0, clock - self._clock) + max(0.0, children - self._children)
        self._clock, self._children = clock, children
        return spent

    def end(self) -> int | None:
        """End the current notebook; its exit code, negative for a signal, if it had ended by itself."""
        notebook = self.current
        if notebook is None:
            return None
        self.current, self.lost = None, True
        with suppress(ProcessLookupError):
            os.kill(notebook.pid, signal.SIGKILL)
        status = self._processes.wait(notebook.pid)
        notebook.close()
        return os.waitstatus_to_exitcode(status)

    def keep(self, number: int) -> bool:
        """Make a snapshot of the current notebook, which is there; False if it could not make one."""
        assert self.current is not None
        picture = self._copy(self.current, b"s")
        if picture is not None:
            self.pictures[number] = picture
        self._count()
        return picture is not None

    def go_back(self, number: int | None) -> None:
        """Put a copy of a snapshot in place of the current notebook, or nothing if there was none at that time."""
        self.end()
        self.lost = False
        if number is None:
            return
        picture = self.pictures.get(number)
        self.current = self._copy(picture, b"r") if picture is not None else None
        self.lost = self.current is None
        if self.current is not None:
            self._clock, self._children = cpu_clock(self.current.pid), 0.0
        self._count()

    def drop(self, number: int) -> None:
        """End a snapshot."""
        picture = self.pictures.pop(number, None)
        if picture is not None:
            with suppress(ProcessLookupError):
                os.kill(picture.pid, signal.SIGKILL)
            self._processes.wait(picture.pid)
            picture.close()
            self._count()

    def _copy(self, original: Notebook, what: bytes) -> Notebook | None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._allow(original.pid, len(self.pictures) + COPYING)
        try:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            if not original.order(what, bytes(16), pass_on=theirs.fileno()):
                raise OSError
            theirs.close()
            ours.settimeout(PATIENCE)
            said, credentials, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(12))
            pid = 0
            for level, kind, data in credentials:
                if said and level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    pid = struct.unpack("=3i", data)[0]
            ours.setblocking(False)
            return Notebook(pid, ours, os.pidfd_open(pid))
        except (OSError, ValueError):
            ours.close()
            theirs.close()
            return None

    def _count(self) -> None:
        """Let the current notebook have its processes, whatever snapshots there are."""
        if self.current is not None:
            self._allow(self.current.pid, len(self.pictures))

    def _allow(self, pid: int, others: int) -> None:
        self._starter.allow(self._most + others)
        if self._starter.place.counts:
            with suppress(OSError):
                hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
                resource.prlimit(pid, resource.RLIMIT_NPROC, (hard - SPARE_PROCESSES + others, hard))

    def _make_pipes(self) -> tuple[int, int, int, int]:
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        self._pipes = (out, out_end, err, err_end)
        return self._pipes
