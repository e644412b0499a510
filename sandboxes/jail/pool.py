"""Slots kept ready, and a bound on how many live.

A slot is never used again: it serves one sandbox and is killed. So nothing of one user can reach another, and what the
pool keeps are slots that nobody has used.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Hashable

from tir_gym.errors import SandboxUnavailable
from tir_gym.sandboxes.slotted import Slot

log = logging.getLogger("tir_gym.sandbox")


class SlotPool:
    """Gives out slots, by what they were made for.

    Args:
        max_live: Slots that may live at one time, unused ones aside.
        ready: Unused slots kept of each sort, once one of it was asked for; 0 for none.
        patience: Seconds to wait for a slot when all are taken.
        max_unused: Unused slots of all sorts together; those of the sort that was asked for longest ago go first.
    """

    def __init__(self, max_live: int = 2048, ready: int = 1, patience: float = 60.0, max_unused: int = 16) -> None:
        self.max_live = max_live
        self.ready = ready
        self.patience = patience
        self.max_unused = max_unused
        self.start_over()

    def start_over(self) -> None:
        """Forget all slots, as a forked process must: its copies of the parent's are not its own to use or close."""
        self._unused: dict[Hashable, deque[Slot]] = {}
        """The sort that was asked for last stands last."""
        self._coming: Counter[Hashable] = Counter()
        self._leased: weakref.WeakSet[Slot] = weakref.WeakSet()
        self._promised = 0
        """Slots that were given out and are not yet among the leased, because they are being started."""
        self._lock = threading.Lock()

    def lease(self, sort: Hashable, start: Callable[[], Slot]) -> Slot:
        """A slot that nobody has used; the caller closes it.

        Args:
            sort: What it is made for: slots of one sort are the same.
            start: Starts one.

        Raises:
            SandboxUnavailable: All that may live do, and none was closed in time; or none can be started.
        """
        self._wait_for_room()
        try:
            slot = self._unused_one(sort) or start()
            self._leased.add(slot)
        finally:
            with self._lock:
                self._promised -= 1
        self._refill(sort, start)
        return slot

    def live(self) -> int:
        """Slots given out and not closed."""
        return sum(slot.alive for slot in list(self._leased))

    def close(self) -> None:
        """Close the unused slots; those given out are their owners' to close."""
        with self._lock:
            unused = [slot for slots in self._unused.values() for slot in slots]
            self._unused.clear()
        for slot in unused:
            slot.close()

    def _wait_for_room(self) -> None:
        """Promise one more slot as soon as there is room for it. Looked at and promised in one, for callers at once."""
        deadline = time.monotonic() + self.patience
        while True:
            with self._lock:
                if self.live() + self._promised < self.max_live:
                    self._promised += 1
                    return
            if time.monotonic() >= deadline:
                raise SandboxUnavailable(
                    f"{self.max_live} sandboxes are live and none was closed for {self.patience:g} s; close some, or "
                    "raise tir_gym.sandboxes.jail.pool.slots.max_live",
                    kind="pool_full",
                )
            time.sleep(0.01)

    def _unused_one(self, sort: Hashable) -> Slot | None:
        with self._lock:
            waiting = self._unused.pop(sort, deque())
            while waiting:
                slot = waiting.popleft()
                if slot.alive:
                    if waiting:
                        self._unused[sort] = waiting
                    return slot
        return None

    def _refill(self, sort: Hashable, start: Callable[[], Slot]) -> None:
        with self._lock:
            if len(self._unused.get(sort, ())) + self._coming[sort] >= self.ready:
                return
            self._coming[sort] += 1
        threading.Thread(target=self._start, args=(sort, start), daemon=True, name="tir-gym slot").start()

    def _start(self, sort: Hashable, start: Callable[[], Slot]) -> None:
        try:
            slot = start()
        except Exception as error:
            log.debug("no slot could be started ahead: %s", error)  # whoever needs one next is told
            slot = None
        with self._lock:
            self._coming -= Counter([sort])
            if slot is not None:
                self._unused.setdefault(sort, deque()).append(slot)
            dropped = self._overmuch()
        for old in dropped:
            old.close()

    def _overmuch(self) -> list[Slot]:
        """Take out the unused slots that are too many."""
        dropped: list[Slot] = []
        while sum(map(len, self._unused.values())) > self.max_unused:
            oldest = next(iter(self._unused))
            dropped.append(self._unused[oldest].popleft())
            if not self._unused[oldest]:
                del self._unused[oldest]
        return dropped


slots = SlotPool()
"""The pool of this process."""

atexit.register(slots.close)
os.register_at_fork(after_in_child=slots.start_over)
