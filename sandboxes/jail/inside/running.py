"""One call while it runs: waiting for its report or its end, and keeping it to its limits meanwhile."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Collection
from typing import Any

from .output import Feed, Output
from .watch import Watch

POLLRDHUP = getattr(select, "POLLRDHUP", 0x2000)


class HostGone(Exception):
    """The host has closed its end; nothing is left to do but to end."""


class Call:
    """A call that has been started.

    Args:
        limits: Those of this call.
        output: What it prints.
        watch: Its looker-after.
        host: Where the host would be heard hanging up.
    """

    def __init__(self, limits: dict[str, Any], output: Output, watch: Watch, host: int) -> None:
        self.limits = limits
        self.output = output
        self.watch = watch
        self.begin = time.monotonic()
        self.status: str | None = None
        """How it ended, once that is known."""
        self.code: int | None = None
        self._host = host

    def wait(self, ended: int, report: int, leave: Collection[int], feed: Feed | None = None) -> bytes:
        """Wait until the process reports or ends, or exceeds a limit; then `status` says which.

        Args:
            ended: A pidfd of the process.
            report: Where it reports; read without waiting.
            leave: Processes that are none of this call's.
            feed: Its standard input.

        Returns:
            What it reported, in whatever shape; empty if it did not.

        Raises:
            HostGone: Nobody waits for the answer.
        """
        # The kernel looks at them in this order. So if the report is seen, what was printed before it is seen too.
        poll = select.poll()
        poll.register(self._host, POLLRDHUP)
        poll.register(report, select.POLLIN)
        poll.register(ended, select.POLLIN)
        for fd in self.output.fds:
            poll.register(fd, select.POLLIN)
        if feed is not None:
            poll.register(feed.fd, select.POLLOUT)
        read = self.output.read
        outputs = self.output.fds
        deadline = self.begin + self.limits["wall_seconds"]
        look = self.begin + self.watch.pause()
        while True:
            over = reported = False
            for fd, _ in poll.poll(max(0.0, min(deadline, look) - time.monotonic()) * 1000 + 0.5):
                if fd in outputs:
                    if not read(fd):
                        poll.unregister(fd)
                elif fd == report:
                    reported = True
                elif fd == ended:
                    over = True
                elif fd == self._host:
                    raise HostGone
                elif feed is not None and not feed.write():
                    poll.unregister(fd)
                    os.close(fd)
                    feed = None
            if reported or over:
                told = _read(report)
                if told or over:
                    return told
                poll.unregister(report)
            now = time.monotonic()
            if now >= deadline:
                self.status = "time_limit"
                return b""
            if now >= look:
                self.status = self.watch.look(leave)
                if self.status is not None:
                    return b""
                look = time.monotonic() + self.watch.pause()

    def elapsed(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.begin

    def reply(self, cpu: float, rss: int, lost: bool) -> dict[str, Any]:
        """The answer to the host."""
        out, err = self.output.texts()
        return {
            "status": self.status,
            "out": out,
            "err": err,
            "truncated": self.output.truncated,
            "code": self.code,
            "cpu": round(cpu, 6),
            "wall": round(self.elapsed(), 6),
            "rss": rss,
            "lost": lost,
        }


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 64)
    except (BlockingIOError, ConnectionError):
        return b""
