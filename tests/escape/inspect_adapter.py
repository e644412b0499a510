"""The jail and the container as sandboxes of inspect_ai, so that its conformance suite can judge them.

Not part of the package: `test_inspect.py` uses it. Every command runs in one slot; files go through it, too.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Callable
from typing import Any

from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironment, SandboxUserUnsupportedError
from inspect_ai.util._sandbox.limits import SandboxEnvironmentLimits

Request = Callable[..., dict[str, Any]]
"""Ask a slot: `request(op, **fields)`, as in `tir_gym/sandboxes/jail/slot.py`."""
INPUT = ".input"


class SlotEnvironment(SandboxEnvironment):
    """One slot.

    Args:
        request: How to ask it.
    """

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._request = request

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        if user is not None:
            raise SandboxUserUnsupportedError(f"a slot has one user, so nothing runs in it as {user!r}")
        argv = cmd
        if input is not None:  # a file, because standard input of a slot is text and this may be anything
            await self.write_file(INPUT, input)
            argv = ["sh", "-c", f'exec {shlex.join(cmd)} < "$HOME/{INPUT}"']
        limits = {} if timeout is None else {"wall_seconds": float(timeout)}
        reply = self._request("run", argv=argv, env=env or {}, cwd=cwd or ".", limits=limits)
        if reply["status"] == "time_limit":
            raise TimeoutError(f"stopped after {timeout} s")
        if reply["truncated"]:
            limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
            raise OutputLimitExceededError(str(limit), reply["out"])
        if reply["code"] == 126 and "Permission denied" in reply["err"]:
            raise PermissionError(reply["err"])
        code = 1 if reply["code"] is None else reply["code"]
        code = 128 - code if code < 0 else code  # a signal, as shells tell it
        return ExecResult(code == 0, code, reply["out"], reply["err"])

    async def write_file(self, file: str, contents: str | bytes) -> None:
        data = contents.encode() if isinstance(contents, str) else contents
        self._look(file, writing=True)
        reply = self._request("write", files={file: {"base64": base64.b64encode(data).decode()}})
        if "error" in reply:
            raise PermissionError(13, reply["error"])

    async def read_file(self, file: str, text: bool = True) -> Any:
        self._look(file, writing=False)
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        reply = self._request("read", path=file, max=limit)
        if "error" in reply:
            raise FileNotFoundError(2, reply["error"])
        if reply["size"] > limit:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        data = base64.b64decode(reply["base64"])
        return data.decode() if text else data

    def _look(self, file: str, *, writing: bool) -> None:
        """Raise what Python's own `open` would, which the slot tells in words of its own."""
        mode = "-w" if writing else "-r"
        test = f'test -d "$1" && exit 3; test -e "$1" || exit 4; test {mode} "$1" || exit 5'
        code = self._request("run", argv=["sh", "-c", test, "sh", file])["code"]
        if code == 3:
            raise IsADirectoryError(21, f"Is a directory: {file}")
        if code == 4 and not writing:
            raise FileNotFoundError(2, f"No such file: {file}")
        if code == 5:
            raise PermissionError(13, f"Permission denied: {file}")

    @classmethod
    async def sample_cleanup(cls, *arguments: Any) -> None:
        """Nothing: whoever made the slot closes it."""
