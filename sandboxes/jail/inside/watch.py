"""Whether a call keeps to its limits: memory, processor time and processes of all that it started, looked at while it
runs.

Memory is counted in two steps. The first adds up what each process shows, beyond what it inherited from the
supervisor; that is quick and never too little, but pages shared after a fork count once for each process. Where it
exceeds the limit, the second asks the kernel for each process's share, which takes longer and is exact. Shared memory
counts with its whole size, because the kernel's figures forget pages that a process has let go of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from .processes import CLOCK_TICKS, Processes, Usage, cpu_clock

FIRST_LOOK = 0.01
LONGEST_PAUSE = 0.03
UNCOUNTED_PAUSE = 0.004
"""Seconds between looks where only they bound the number of processes: two cores fork some ten meanwhile."""
FREE_SOCKETS = 32
SOCKET_BYTES = 212992


class Watch:
    """Looks after one call.

    Args:
        processes: Of the slot.
        limits: `memory`, `cpu_seconds` and `processes` of the call.
        inherited: What a fork of the supervisor uses before it does anything.
        known: Processor time so far of processes that were there before, by pid.
        counted: Whether the number of processes is bounded without it.
        janitor: Whose time counts too, because it is spent on answering what these processes ask.
    """

    def __init__(
        self,
        processes: Processes,
        limits: dict[str, float],
        inherited: Usage,
        known: dict[int, float],
        counted: bool,
        janitor: int | None = None,
    ) -> None:
        self._processes = processes
        self._limits = limits
        self._inherited = inherited
        self._begin = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.reaped_before = processes.reaped_cpu
        self._known = dict(known)
        self._janitor = janitor
        self._janitor_before = cpu_clock(janitor) if janitor is not None else 0.0
        self._longest = LONGEST_PAUSE if counted else UNCOUNTED_PAUSE
        self._pause = min(FIRST_LOOK, self._longest)
        self.disk: Callable[[], str | None] | None = None
        """Asked which limit of the disk is exceeded, where it does not end there itself."""
        self._disk_again = 0.0
        self._exact_again = 0.0
        self.cpu = 0.0
        """Seconds of processor time seen so far."""
        self.memory = 0
        """The most bytes seen so far."""

    def pause(self) -> float:
        """Seconds until the next look."""
        pause, self._pause = self._pause, min(self._pause * 1.5, self._longest)
        return pause

    def look(self, leave: Collection[int]) -> str | None:
        """Look once.

        Args:
            leave: Processes that are none of this call's.

        Returns:
            The limit that is exceeded, as a status, or None.
        """
        processes = self._processes
        processes.reap()
        pids = processes.others(leave)
        cpu = processes.reaped_cpu - self.reaped_before
        if self._janitor is not None:
            cpu += max(0.0, cpu_clock(self._janitor) - self._janitor_before)
        uses: dict[int, Usage] = {}
        threads = 0
        for pid in pids:
            fields = processes.stat(pid)
            if not fields:
                continue
            spent = cpu_clock(pid) + (int(fields[13]) + int(fields[14])) / CLOCK_TICKS
            if pid not in self._known:
                before = int(fields[19]) / CLOCK_TICKS < self._begin - 0.02
                self._known[pid] = spent if before else 0.0
            cpu += spent - self._known[pid]
            threads += 1
            use = processes.usage(pid)
            if use is not None:
                uses[pid] = use
                threads += use.threads - 1
        self.cpu = max(self.cpu, cpu)
        if self._over(uses):
            return "memory_limit"
        if self.disk is not None and time.monotonic() >= self._disk_again:
            begin = time.monotonic()
            full = self.disk()
            now = time.monotonic()
            self._disk_again = now + 5 * (now - begin)
            if full is not None:
                return full
        if self.cpu > self._limits["cpu_seconds"]:
            return "cpu_limit"
        if threads > self._limits["processes"] + 1:
            return "process_limit"
        return None

    def _over(self, uses: dict[int, Usage]) -> bool:
        limit = self._limits["memory"]
        inherited = self._inherited
        # What lies in sockets belongs to no process. Each may hold as much as one may by default.
        in_sockets = max(0, self._processes.sockets(uses) - FREE_SOCKETS) * SOCKET_BYTES
        if in_sockets > limit:
            return True
        quick = sum(max(0, use.anonymous - inherited.anonymous) + use.shared for use in uses.values())
        whole = sum(use.anonymous + use.shared for use in uses.values())
        hidden = any(use.reserved - inherited.reserved > limit / 4 for use in uses.values())
        if whole - inherited.anonymous <= limit and not hidden:
            self.memory = max(self.memory, quick)
            return False
        begin = time.monotonic()
        if begin < self._exact_again:
            return False
        exact = self._exact(uses)
        self.memory = max(self.memory, exact)
        now = time.monotonic()
        self._exact_again = now + 2 * (now - begin)  # large processes take long to look through
        return exact > limit

    def _exact(self, uses: dict[int, Usage]) -> int:
        private = 0
        shared: dict[bytes, int] = {}
        for pid, use in uses.items():
            share = _field(self._processes.read(pid, "smaps_rollup"), b"Pss_Anon:") if len(uses) > 1 else None
            if share is None and self._processes.usage(pid) is None:
                continue  # it has ended meanwhile
            private += use.anonymous if share is None else share
            maps = self._processes.read(pid, "maps")
            if not maps:  # it hides itself, so all that is not explained counts
                private += max(0, use.reserved - self._inherited.reserved)
            for inode, size in _shared_objects(maps).items():
                shared[inode] = max(size, shared.get(inode, 0))
        return max(0, private - self._inherited.anonymous) + sum(shared.values())


def _field(text: bytes, name: bytes) -> int | None:
    begin = text.find(name)
    return None if begin < 0 else int(text[begin + len(name) :].split(None, 1)[0]) << 10


def _shared_objects(maps: bytes) -> dict[bytes, int]:
    """Inode -> bytes mapped, of shared memory that has no file on the slot's disk."""
    found: dict[bytes, int] = {}
    for line in maps.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[1][3:4] == b"s" and fields[5].startswith((b"/dev/zero", b"/memfd:", b"/SYSV")):
            first, last = (int(address, 16) for address in fields[0].split(b"-"))
            found[fields[4]] = found.get(fields[4], 0) + last - first
    return found
