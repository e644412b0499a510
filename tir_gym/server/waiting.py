"""Waiting awake: while messages come close together, the event loop looks again for a moment before it goes to sleep.

A processor that falls asleep between two messages of a client must be woken, and wakes with cold caches: a quick step
then costs half as much again. So after a wait that ended within `MOMENT` the next one is spent awake for as long. The
first that lasts longer ends this: a server with nothing to do sleeps, and what waiting awake can waste is one `MOMENT`
for each row of messages.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
import time
from pathlib import Path

MOMENT = 200e-6
"""Seconds: about what a client on this machine takes from a reply to its next message."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time, and of what period, as a container sees its own (Linux, control groups v2)."""


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop for a server, of asyncio's own.

    It waits awake where that keeps no client from its turn: it must have a process of its own, which it has in the main
    thread, and more than one processor. Not on Windows, whose loop is of another kind.
    """
    alone = threading.current_thread() is threading.main_thread() and _processors() > 1
    if alone and os.name == "posix":
        return asyncio.SelectorEventLoop(AwakeSelector())
    return asyncio.new_event_loop()


class AwakeSelector(selectors.DefaultSelector):
    """The system's selector, whose `select` waits awake after a wait that was short."""

    awake = False
    """Whether it will."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        begun = time.perf_counter()
        if self.awake:
            end = begun + (MOMENT if timeout is None else min(MOMENT, timeout))
            while not ready and time.perf_counter() < end:
                ready = super().select(0)
        if not ready:
            ready = super().select(timeout)
            self.awake = time.perf_counter() - begun < MOMENT
        return ready


def _processors() -> float:
    """How many this process may use: those that it may run on, and of their time what its container is given."""
    may = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return min(may, int(quota) / int(period))
    except (OSError, ValueError):  # no such control group, or `max`: no quota
        return may
