"""Counts an attacker's processes from outside: how many there were, how much memory they held, which are left.

A probe names its processes with a token (`PR_SET_NAME`, which children and threads inherit), so they can be told from
everything else on the machine in whatever namespace they run.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import TracebackType
from typing import Self

PAUSE = 0.02
FORKED = 24 << 20
"""Bytes that a forked interpreter has in common with its parent, where shares cannot be seen."""


class Watch:
    """Looks at the processes named `token` all the time between enter and exit."""

    def __init__(self, token: str) -> None:
        self.token = token
        self._token = token.encode()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most = 0
        """Most processes and threads seen at one time."""
        self.memory = 0
        """Most bytes of anonymous and shared memory seen at one time."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def left(self, seconds: float) -> list[int]:
        """Processes that are still there after `seconds`; returns as soon as there are none."""
        end = time.monotonic() + seconds
        while (pids := self._pids()) and time.monotonic() < end:
            time.sleep(PAUSE)
        return pids

    def kill(self) -> None:
        """End them all, for runners that would leave them."""
        end = time.monotonic() + 10
        while (pids := self._pids()) and time.monotonic() < end:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(PAUSE)

    def _look(self) -> None:
        while not self._done.wait(PAUSE):
            threads = memory = 0
            for pid in self._pids():
                lines = _read(f"/proc/{pid}/status").splitlines()
                about = dict(line.split(b":", 1) for line in lines if b":" in line)
                threads += int(about.get(b"Threads", b"0"))
                memory += _share(pid) or max(0, sum(_bytes(about, name) for name in (b"RssAnon", b"RssShmem")) - FORKED)
            self.most = max(self.most, threads)
            self.memory = max(self.memory, memory)

    def _pids(self) -> list[int]:
        own = os.getpid()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != own:
                fields = _read(f"/proc/{name}/stat")
                # A zombie holds nothing and waits for its parent only.
                if b"(" + self._token in fields and fields.rsplit(b")", 1)[1].split()[0] != b"Z":
                    found.append(int(name))
        return found


def _share(pid: int) -> int:
    """This process's share of the memory that it uses with others; 0 where that cannot be seen."""
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    about = dict(line.split(b":", 1) for line in lines if b":" in line)
    return _bytes(about, b"Pss_Anon") + _bytes(about, b"Pss_Shmem")


def _bytes(about: dict[bytes, bytes], name: bytes) -> int:
    return int(about.get(name, b"0 kB").split()[0]) << 10


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
