"""The runner without protection, on which every attack must get through.

It takes the place of a sandbox in `attack.py`: code runs as this process's user, with its files, environment,
descriptors, network and processes. Only what would harm the machine that the tests run on is kept in: a namespace or a
resource limit per case, wider than what a sandbox allows.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tir_gym.records import ToolResult

HERE = Path(__file__).parent


class NaiveBox:
    """Runs code in a plain `python`.

    Args:
        seconds: How long a call may take before it is given up; nothing stops it before.
        prefix: A command put in front of Python, such as `unshare --uts`.
        user: Run as this user id; 0 to stay what this process is.
        stay: Run all calls in one process, which lives on between them.
    """

    def __init__(self, *, seconds: float, prefix: Sequence[str] = (), user: int = 0, stay: bool = False) -> None:
        self.work = Path(tempfile.mkdtemp(prefix="tir-gym-naive-"))
        self.work.chmod(0o777)
        self._seconds = seconds
        replies, self._replies_in = os.pipe()
        self._replies = replies
        command = [*prefix, sys.executable, str(HERE / "naive_worker.py")]
        command += [str(self._replies_in), str(int(stay)), str(user)]
        os.set_inheritable(self._replies_in, True)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            close_fds=False,
            cwd=self.work,
            process_group=0,
        )
        os.close(self._replies_in)
        self._out = bytearray()
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()

    def run(self, code: str, mode: str = "session") -> ToolResult:
        """One call. Raises what a host like this raises: nothing here expects an enemy."""
        self._out.clear()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(code).encode() + b"\n")
        self._process.stdin.flush()
        end = time.monotonic() + self._seconds
        frame = b""
        while len(frame) < 4 or len(frame) < 4 + struct.unpack("<I", frame[:4])[0]:
            if not select.select([self._replies], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no reply in {self._seconds} s")
            data = os.read(self._replies, 1 << 20)
            if not data:
                raise EOFError("the worker is gone")
            frame += data
        reply = pickle.loads(frame[4:])
        time.sleep(0.05)  # what was printed comes by another way than the reply
        content = str(reply["content"]) + self._out.decode()
        error = reply["error"]
        return ToolResult(content=content, error=error, error_kind="raised" if error else None)

    def read(self, path: str) -> bytes:
        """A file of the working folder."""
        return (self.work / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        (self.work / path).write_bytes(content)

    def unpack(self, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(self.work)

    def printed(self) -> str:
        """Everything printed since the last call began."""
        return self._out.decode(errors="replace")

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._replies)
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 1 << 16):
            if len(self._out) < 64 << 20:
                self._out += data
