"""Processes that end with this one, however it ends: for engines that leave theirs behind when their host is killed.

An orphan of vLLM keeps computing and keeps the GPU's memory, so the run that is resumed would find none. Not how an
engine is closed in good order: that is its own business.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_KEEPER = """
import os, select, signal, sys
host = os.pidfd_open(int(sys.argv[1]))
kept, poll = [], select.poll()
poll.register(host, select.POLLIN)
poll.register(0, select.POLLIN)
print(flush=True)
while host not in [ready for ready, _ in poll.poll()]:
    told = int(os.read(0, 64) or 0)
    if not told:
        break
    try:
        kept.append(os.pidfd_open(told))
    except ProcessLookupError:
        pass
    print(flush=True)
for handle in kept:
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class Keeper:
    """A process that kills others when this one is gone, or at `close`. Elsewhere than on Linux it does nothing."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
            # It waits for the end of this process, not of a pipe, whose other end forked processes would hold open. A
            # session of its own: Ctrl-C is for the host, which closes what it has opened.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEPER, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._answered()

    @contextmanager
    def children(self) -> Iterator[None]:
        """Keep every process that `multiprocessing` starts within the block, from its first moments on."""
        known = set(multiprocessing.active_children())
        over = threading.Event()

        def watch() -> None:
            last = False
            while not last:
                last = over.wait(0.1)
                for child in set(multiprocessing.active_children()) - known:
                    known.add(child)
                    self._keep(child.pid)

        thread = threading.Thread(target=watch, name="tir-gym-keeper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        """Kill what is left of them. Closing twice is closing once."""
        if self._process is not None:
            self._tell(0)
            self._process.wait()
            self._process = None

    def _keep(self, pid: int | None) -> None:
        if self._process is not None and pid is not None:
            self._tell(pid)
            self._answered()  # it has the process itself from here on, whoever else gets its number later

    def _tell(self, pid: int) -> None:
        """Of one more process; 0 says that it is time."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody has killed the keeper
            self._process.stdin.write(b"%d\n" % pid)
            self._process.stdin.flush()

    def _answered(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.readline()
