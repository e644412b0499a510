"""Drives `attack.py` from a test or a program: one process per backend and user, asked case by case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from escape.cases import Case

TESTS = Path(__file__).resolve().parent.parent


def python(user: str) -> list[str]:
    """A command that runs the code in its next argument, as an ordinary user where root is not asked for."""
    return [sys.executable, "-c" if user == "root" or os.geteuid() else str(TESTS / "ordinary_user.py")]


class Attacker:
    """A host with canaries, and a kind of sandbox under attack.

    Args:
        backend: Name in `backends.BACKENDS`.
        user: `root` or `user`; see `python`.
    """

    def __init__(self, backend: str, user: str) -> None:
        self.backend = backend
        self._process = subprocess.Popen(
            [*python(user), "from escape.attack import main; main()", backend],
            cwd=TESTS,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # so that it may have a terminal
            text=True,
        )
        self.fault: str | None = self._read()["fault"]

    def attack(self, case: Case, mode: str) -> dict[str, Any]:
        """Play one case; see `attack.play`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"case": case.name, "mode": mode}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the host under attack is gone, status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _environment() -> dict[str, str]:
    """No more than is needed: what an attack gets to see is shown when it fails."""
    kept = ("PATH", "LANG", "TMPDIR", "DOCKER_HOST", "CONTAINER_HOST")
    found = {name: value for name, value in os.environ.items() if name in kept or name.startswith("TIR_GYM_")}
    return found | {"PYTHONPATH": str(TESTS)}
