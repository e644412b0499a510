"""What a call prints: read as it comes, kept up to a limit, and dropped beyond it, so that nobody waits for a pipe."""

from __future__ import annotations

import os

CHUNK = 1 << 16
PIPE_MOST = 1 << 20
"""A pipe cannot be made to hold more than this without privileges."""


class Output:
    """The ends of two pipes.

    Args:
        out: Where standard output comes from.
        err: Where standard error comes from.
        limit: Bytes to give back of both together.
    """

    def __init__(self, out: int, err: int, limit: int) -> None:
        self._limit = limit
        self._kept: dict[int, bytearray] = {out: bytearray(), err: bytearray()}
        self.fds = (out, err)
        self.truncated = False
        self._more: set[int] = set()
        """Where more may lie than was read last."""

    def read(self, fd: int) -> bool:
        """Take what there is; False once nobody can write there any more."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            self._more.discard(fd)
            return True
        if len(data) < CHUNK:
            self._more.discard(fd)
            if not data:
                return False
        else:
            self._more.add(fd)
        kept = self._kept[fd]
        room = self._limit - len(kept)
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        kept += data
        return True

    def drain(self, *, again: bool = False) -> None:
        """Take what lies in the pipes yet, and no more than fits into one.

        Args:
            again: Also from those that the last reading has left empty.
        """
        if again:
            self._more.update(self.fds)
        for fd in self.fds:
            for _ in range(PIPE_MOST // CHUNK):
                if fd not in self._more or not self.read(fd):
                    break

    def texts(self) -> tuple[str, str]:
        """Output and errors as text. Where both do not fit, the end of the errors does: it says what went wrong."""
        out, err = (bytes(self._kept[fd]) for fd in self.fds)
        over = len(out) + len(err) - self._limit
        if over > 0:
            self.truncated = True
            least = min(len(err), max(self._limit - len(out), min(4096, self._limit // 2)))
            err = err[len(err) - least :]
            out = out[: self._limit - least]
        return self._text(out), self._text(err)

    def _text(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        if len(text) == len(data) or "\ufffd" not in text:
            return text
        encoded = text.encode()  # each broken byte has become three
        if len(encoded) <= self._limit:
            return text
        self.truncated = True
        return encoded[: self._limit].decode("utf-8", "ignore")


class Feed:
    """Standard input of a call, written as fast as it is taken."""

    def __init__(self, fd: int, data: bytes) -> None:
        self.fd = fd
        self._data = memoryview(data)
        os.set_blocking(fd, False)

    def write(self) -> bool:
        """Write some; False once there is no more to write, or nobody to read it."""
        try:
            self._data = self._data[os.write(self.fd, self._data[:CHUNK]) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(self._data)
