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
from collections import defaultdict, deque
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
    """

    def __init__(self, max_live: int = 2048, ready: int = 1, patience: float = 60.0) -> None:
        self.max_live = max_live
        self.ready = ready
        self.patience = patience
        self.start_over()

    def start_over(self) -> None:
        """Forget all slots, as a forked process must: its copies of the parent's are not its own to use or close."""
        self._unused: dict[Hashable, deque[Slot]] = defaultdict(deque)
        self._coming: dict[Hashable, int] = defaultdict(int)
        self._leased: weakref.WeakSet[Slot] = weakref.WeakSet()
        self._lock = threading.Lock()

    def lease(self, sort: Hashable, start: Callable[[], Slot]) -> Slot:
        """A slot that nobody has used; the caller closes it.

        Args:
            sort: What it is made for: slots of one sort are the same.
            start: Starts one.

        Raises:
            SandboxUnavailable: All that may live do, and none was closed in time; or none can be started.
        """
        slot = self._unused_one(sort)
        if slot is None:
            slot = start()
            self._leased.add(slot)
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

    def _unused_one(self, sort: Hashable) -> Slot | None:
        deadline = time.monotonic() + self.patience
        while self.live() >= self.max_live:
            if time.monotonic() >= deadline:
                raise SandboxUnavailable(
                    f"{self.max_live} sandboxes are live and none was closed for {self.patience:g} s; close some, or "
                    "raise tir_gym.sandboxes.jail.pool.slots.max_live",
                    kind="pool_full",
                )
            time.sleep(0.01)
        with self._lock:
            while self._unused[sort]:
                slot = self._unused[sort].popleft()
                if slot.alive:
                    self._leased.add(slot)
                    return slot
        return None

    def _refill(self, sort: Hashable, start: Callable[[], Slot]) -> None:
        with self._lock:
            if len(self._unused[sort]) + self._coming[sort] >= self.ready:
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
            self._coming[sort] -= 1
            if slot is not None:
                self._unused[sort].append(slot)


slots = SlotPool()
"""The pool of this process."""

atexit.register(slots.close)
os.register_at_fork(after_in_child=slots.start_over)
