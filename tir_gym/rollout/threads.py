"""Threads that run one thing after another and never keep the process alive.

`concurrent.futures` waits for its threads when the interpreter ends, so a tool that hangs would hang it too. These are
daemons, and one that hangs can be counted out: another takes its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


class DaemonThreads:
    """At most `most` threads, started when there is work for them.

    Args:
        most: How many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = 0
        self._open = 0
        """Jobs that were given and have not ended."""

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job as soon as a thread is free."""
        future: Future[Any] = Future()
        self._jobs.put((future, job))
        with self._lock:
            self._open += 1
            self._start()
        return future

    def replace_one(self) -> None:
        """A job may hang for ever: let one more thread be started."""
        with self._lock:
            self._most += 1
            self._start()

    def stop(self) -> None:
        """Let the threads end, each after its job."""
        with self._lock:
            for _ in range(self._started):
                self._jobs.put(None)

    def _start(self) -> None:
        if self._started < min(self._open, self._most):
            self._started += 1
            threading.Thread(target=self._work, name="tir-gym-rollout", daemon=True).start()

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            future, job = item
            try:
                if future.set_running_or_notify_cancel():
                    try:
                        result = job()
                    except BaseException as error:
                        future.set_exception(error)
                    else:
                        future.set_result(result)
            finally:
                with self._lock:
                    self._open -= 1
                del item, future, job  # an idle thread holds on to nothing
