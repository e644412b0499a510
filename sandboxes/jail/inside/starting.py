"""A new process for the agent's code: forked from the supervisor, stripped of what is the supervisor's, limited."""

from __future__ import annotations

import math
import os
import resource
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from . import kernel
from .processes import Processes, Usage

SPARE_PROCESSES = 300
"""How far above the limit on processes the hard limit lies, because snapshots count as processes too; the watch ends
what uses that for more."""
OPEN_FILES = 512
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
    confine: Callable[[], None] | None = None
    """Called in each new process, where a tier needs more than is inherited."""


class Starter:
    """Makes processes.

    Args:
        place: Of the slot.
        processes: Of the slot.
    """

    def __init__(self, place: Place, processes: Processes) -> None:
        self.place = place
        self.inherited = processes.usage(os.getpid()) or Usage(0, 0, 0, 0, 1)
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        while os.dup(self.null) <= FIRST_FREE:
            pass  # so that nothing of the supervisor's has a number that a new process needs

    def fork(self, limits: dict[str, Any], fds: tuple[int, int, int, int | None], others: int, cpu: bool) -> int:
        """Fork. In the child, which belongs to the agent from here on, returns 0.

        Args:
            limits: Of the call.
            fds: What becomes standard input, output and error, and number 3.
            others: Processes that are there and do not count.
            cpu: Whether the kernel is to end the process when its time is used up.
        """
        pid = os.fork()
        if pid:
            return pid
        try:
            for number, fd in enumerate(fds):
                if fd is not None:
                    os.dup2(fd, number, inheritable=number < 3)
            os.closerange(3 if fds[3] is None else FIRST_FREE, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.chdir(self.place.writable[0])
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
            self._limit(limits, others, cpu)
            if self.place.confine is not None:
                self.place.confine()
        except BaseException as error:
            os.write(2, f"the sandbox could not start a process: {error}\n".encode("utf-8", "replace"))
            os._exit(1)
        return 0

    def _limit(self, limits: dict[str, Any], others: int, cpu: bool) -> None:
        memory = self.inherited.data + limits["memory"]
        space = memory + self.inherited.reserved + 4 * limits["memory"] + limits["processes"] * THREAD_BYTES
        for kind, value in (
            (resource.RLIMIT_DATA, memory),
            (resource.RLIMIT_AS, space),
            (resource.RLIMIT_FSIZE, limits["disk"]),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
        ):
            _lower(kind, value, value)
        if cpu:
            seconds = math.ceil(limits["cpu_seconds"])
            _lower(resource.RLIMIT_CPU, seconds, seconds + 1)
        if self.place.counts:
            count = limits["processes"] + 1 + others
            _lower(resource.RLIMIT_NPROC, count, count + SPARE_PROCESSES)


FIRST_FREE = 4


def _lower(kind: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))
