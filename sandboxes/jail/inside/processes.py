"""The processes of a slot: which there are, what they use, and how to stop, wake and end them.

The supervisor is either process 1 of a process namespace, where everything else is the agent's and one call reaches it
all, or an ordinary process whose descendants are the agent's.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
OPEN_FILES = 512
"""Descriptors that a process may have."""
STARTED = 1.0
"""Seconds after which a process has left the code that starts it, also on a busy machine."""


class Usage(NamedTuple):
    """What one process uses, as /proc tells it."""

    anonymous: int
    """Bytes of its own memory, pages that it still shares with the process it was forked from included."""
    shared: int
    """Bytes of shared memory that it has touched."""
    reserved: int
    """Bytes of address space that are not private writable memory: libraries, reservations, shared memory."""
    data: int
    """Bytes of private writable memory, touched or not."""
    threads: int


class Processes:
    """The processes below this one.

    Args:
        proc: An open /proc that shows all of them.
        init: Whether this is process 1 of a namespace.
    """

    def __init__(self, proc: int, *, init: bool) -> None:
        self.proc = proc
        self.init = init
        self.ended: dict[int, int] = {}
        """Wait status of those that ended and were reaped, until `forget`."""
        self.largest = 0
        """Bytes of memory that the largest of them had, with what it shares with others."""
        self.reaped_cpu = 0.0
        """Seconds of processor time of all that were reaped, with what they had reaped themselves."""

    def pids(self) -> list[int]:
        """All of them, zombies included."""
        if self.init:
            return [int(name) for name in os.listdir(self.proc) if name.isdigit() and name != "1"]
        found: list[int] = []
        waiting = [os.getpid()]
        while waiting:
            children = self._children(waiting.pop())
            found += children
            waiting += children
        return found

    def others(self, keep: Collection[int]) -> list[int]:
        """Those that are not in `keep`."""
        return [pid for pid in self.pids() if pid not in keep]

    def freeze(self) -> None:
        """Stop all of them, also those being born."""
        if self.init:
            _signal(-1, signal.SIGSTOP)
            return
        stopped: set[int] = set()
        while new := [pid for pid in self.pids() if pid not in stopped]:
            for pid in new:
                _signal(pid, signal.SIGSTOP)
            stopped.update(new)

    def thaw(self) -> None:
        """Let all of them go on."""
        for pid in [-1] if self.init else self.pids():
            _signal(pid, signal.SIGCONT)

    def kill(self, keep: Collection[int] = ()) -> bool:
        """End all but those in `keep`; whether these had to be stopped for that, and still are."""
        if not keep and self.init:
            _signal(-1, signal.SIGKILL)
            self._reap_all()
            return False
        self.reap()
        doomed = self.others(keep)
        if not doomed:
            return False
        # Stopped first, or a quick breeder would make new ones while the old ones are counted.
        self.freeze()
        while True:
            for pid in doomed:
                _signal(pid, signal.SIGKILL)
            deadline = time.monotonic() + 5
            while doomed and time.monotonic() < deadline:
                self.reap()
                doomed = self.others(keep)
                if doomed:
                    time.sleep(0.0005)
            # Without a namespace, one whose parent ended at this moment may have been missed.
            doomed = doomed or ([] if self.init else self.others(keep))
            if not doomed:
                return True

    def doom(self) -> None:
        """Kill all of them at one time, as process 1 can. None of them runs any more; `bury` waits until all are gone.

        A signal reaches them within microseconds. Giving back their memory takes some hundred times as long.
        """
        _signal(-1, signal.SIGKILL)

    def bury(self, keep: int | None) -> None:
        """Wait until those that `doom` killed are gone.

        Args:
            keep: One that was made since.
        """
        own = os.getpid()
        while keep is not None:
            children = [int(child) for child in self.read(own, f"task/{own}/children").split()]
            # A kernel that does not list children names none.
            if children == [keep] or (keep not in children and not self.others((keep,))):
                return
            try:
                self._note(*os.wait4(-1, 0))
            except ChildProcessError:
                return
        self._reap_all()

    def reap(self) -> None:
        """Take note of those that ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._note(pid, status, usage)

    def wait(self, pid: int) -> int:
        """Wait for the end of one that was killed or is ending; its wait status."""
        while pid not in self.ended:
            try:
                found, status, usage = os.wait4(pid, 0)
            except ChildProcessError:
                return self.ended.get(pid, signal.SIGKILL)
            self._note(found, status, usage)
        return self.ended[pid]

    def forget(self) -> None:
        """Forget who ended: their numbers may be given again."""
        self.ended.clear()
        self.largest = 0

    def usage(self, pid: int) -> Usage | None:
        """What a process uses; None if it is gone."""
        text = self.read(pid, "status")
        if b"\nVmSize:" not in text:
            return None  # gone, or a zombie
        data = _kib(text, b"\nVmData:")
        return Usage(
            _kib(text, b"\nRssAnon:"),
            _kib(text, b"\nRssShmem:"),
            _kib(text, b"\nVmSize:") - data,
            data,
            _kib(text, b"\nThreads:") >> 10,
        )

    def sockets(self, pids: Collection[int]) -> int:
        """How many sockets there are in this slot's network; where it has none of its own, how many these have open."""
        if not self.init:
            return self._open_sockets(pids)
        first = self.read(os.getpid(), "net/sockstat").split(b"\n", 1)[0].split()
        return int(first[2]) if len(first) == 3 else 0

    def stat(self, pid: int) -> list[bytes]:
        """The fields of a process's `stat` after its name, beginning with the state; empty if it is gone."""
        text = self.read(pid, "stat")
        return text[text.rfind(b")") + 2 :].split()

    def threads(self, pid: int) -> list[int]:
        """A process's threads; empty if it is gone."""
        try:
            tasks = os.open(f"{pid}/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.proc)
        except OSError:
            return []
        try:
            return [int(name) for name in os.listdir(tasks)]
        except OSError:
            return []
        finally:
            os.close(tasks)

    def read(self, pid: int, name: str) -> bytes:
        """A file of a process in /proc; empty if it is gone or not to be read."""
        try:
            fd = os.open(f"{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        except OSError:
            return b""
        try:
            parts = []
            while part := os.read(fd, 1 << 16):
                parts.append(part)
            return b"".join(parts)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def _open_sockets(self, pids: Collection[int]) -> int:
        """Sockets that processes have open, each counted once, whoever has it; those on their way between them aside.

        One that hides what it has open is taken to have as many as it may, once it has had time to start: before its
        first program runs, nobody can look.
        """
        seen: set[str] = set()
        hidden = 0
        for pid in pids:
            try:
                folder = os.open(f"{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.proc)
            except PermissionError:
                hidden += OPEN_FILES if self._age(pid) > STARTED and self.usage(pid) is not None else 0
                continue
            except OSError:
                continue  # gone
            try:
                for name in os.listdir(folder):
                    with suppress(OSError):
                        seen.add(os.readlink(name, dir_fd=folder))
            except OSError:
                continue
            finally:
                os.close(folder)
        return hidden + sum(target.startswith("socket:") for target in seen)

    def _age(self, pid: int) -> float:
        fields = self.stat(pid)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / CLOCK_TICKS if fields else 0.0

    def _children(self, pid: int) -> list[int]:
        return [
            int(child) for thread in self.threads(pid) for child in self.read(pid, f"task/{thread}/children").split()
        ]

    def _reap_all(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return
            self._note(pid, status, usage)

    def _note(self, pid: int, status: int, usage: resource.struct_rusage) -> None:
        self.reaped_cpu += usage.ru_utime + usage.ru_stime
        self.largest = max(self.largest, usage.ru_maxrss << 10)
        self.ended[pid] = status


def cpu_clock(pid: int) -> float:
    """Seconds of processor time of a process, all its threads together; 0 if it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _kib(text: bytes, name: bytes) -> int:
    begin = text.find(name)
    if begin < 0:
        return 0
    return int(text[begin + len(name) : text.find(b"\n", begin + 1)].split()[0]) << 10


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
