"""A new process for the agent's code: forked from the supervisor, stripped of what is the supervisor's, limited."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable
from typing import Any, NamedTuple

from . import kernel, seccomp
from .asking import Bound
from .processes import OPEN_FILES, Processes, Usage

SPARE_PROCESSES = 300
"""How far above the limit on processes the hard limit lies, because snapshots count as processes too; the watch ends
what uses that for more."""
FIRST_FREE = 4
"""The first number for files that a new process has no use for yet."""
THREAD_BYTES = 80 << 20
"""Address space, not memory, that a thread takes for its stack and its arena."""


class Place(NamedTuple):
    """Where a supervisor finds itself."""

    writable: tuple[str, ...]
    """The folders that hold state; calls begin in the first."""
    proc: int
    """An open /proc that shows all processes of the slot."""
    vault: int | None
    """An open folder out of reach of agents, where there can be one."""
    init: bool = True
    """Whether the supervisor is process 1 of a process namespace."""
    counts: bool = True
    """Whether the kernel counts this slot's processes apart, so that RLIMIT_NPROC means them."""
    others: int = 0
    """Where it does not: processes and threads that the user had without the slot."""
    bound: Bound | None = None
    """Where it does not, but asks before each fork: how many there may be."""
    janitor: int | None = None
    """Who is asked then."""
    bounded: bool = True
    """Whether the disk ends where the limit is; otherwise it is watched."""
    files: int | None = None
    """Files that may exist, where the disk does not bound them itself."""
    confine: Callable[[], None] | None = None
    """Called in each new process, where a tier needs more than is inherited."""


class Starter:
    """Makes processes.

    Args:
        place: Of the slot.
        processes: Of the slot.
        disk: Bytes that a file may have.
    """

    def __init__(self, place: Place, processes: Processes, disk: int) -> None:
        self.place = place
        self.inherited = processes.usage(os.getpid()) or Usage(0, 0, 0, 0, 1)
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        while os.dup(self.null) <= FIRST_FREE:
            pass  # so that nothing of the supervisor's has a number that a new process needs
        # What may as well hold for the supervisor holds for all that it starts.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
        resource.setrlimit(resource.RLIMIT_SIGPENDING, _within_hard(resource.RLIMIT_SIGPENDING, 256, 256))
        resource.setrlimit(resource.RLIMIT_FSIZE, _within_hard(resource.RLIMIT_FSIZE, disk, disk))
        self._fixed = seccomp.fixed_processes(seccomp.machine())
        self._open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._open_files, self._open_files))
        os.chdir(place.writable[0])

    def fork(self, limits: dict[str, Any], fds: tuple[int, int, int, int | None], others: int, cpu: bool) -> int:
        """Fork. In the child, which belongs to the agent from here on, returns 0.

        Args:
            limits: Of the call.
            fds: What becomes standard input, output and error, and number 3.
            others: Processes that are there and do not count.
            cpu: Whether the kernel is to end the process when its time is used up.
        """
        bounds = self._bounds(limits, others, cpu)
        self.allow(limits["processes"] + others)
        pid = kernel.fork()
        if pid:
            return pid
        # Each page that is written to from here on is copied, which is most of what a fork costs.
        try:
            for number, fd in enumerate(fds):
                if fd is not None:
                    os.dup2(fd, number, inheritable=number < 3)
            if self.place.confine is not None:
                self.place.confine()
            os.closerange(3 if fds[3] is None else FIRST_FREE, self._open_files)
            os.setsid()
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or its memory could not be measured
            for kind, bound in bounds:
                resource.setrlimit(kind, bound)
            if not cpu:
                seccomp.install(self._fixed)
        except BaseException as error:
            os.write(2, f"the sandbox could not start a process: {error}\n".encode("utf-8", "replace"))
            os._exit(1)
        return 0

    def allow(self, processes: int) -> None:
        """Let there be so many processes and threads beside the supervisor, where the kernel asks before each fork."""
        if self.place.bound is not None:
            self.place.bound.allow(processes)

    def _bounds(self, limits: dict[str, Any], others: int, cpu: bool) -> list[tuple[int, tuple[int, int]]]:
        """Limits of the kernel, each soft and hard."""
        memory = self.inherited.data + limits["memory"]
        space = memory + self.inherited.reserved + 4 * limits["memory"] + limits["processes"] * THREAD_BYTES
        bounds = [
            (resource.RLIMIT_DATA, memory, memory),
            (resource.RLIMIT_AS, space, space),
            (resource.RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        ]
        if cpu:
            seconds = math.ceil(limits["cpu_seconds"])
            bounds.append((resource.RLIMIT_CPU, seconds, seconds + 1))
        count = limits["processes"] + 1 + others
        if not self.place.counts:
            count += self.place.others + SPARE_PROCESSES  # others come and go; the watch is stricter
        if self.place.bound is None and (self.place.counts or self.place.others):
            # No snapshot is taken while a call runs that is not a notebook's, so there the limit stands as it is.
            bounds.append((resource.RLIMIT_NPROC, count, count if cpu else count + SPARE_PROCESSES))
        return [(kind, _within_hard(kind, soft, hard)) for kind, soft, hard in bounds]


def _within_hard(kind: int, soft: int, hard: int) -> tuple[int, int]:
    most = resource.getrlimit(kind)[1]
    return (soft, hard) if most == resource.RLIM_INFINITY else (min(soft, most), min(hard, most))
