"""Running Python as an ordinary user, from tests that run as root (as they do in containers and on build machines).

The interpreter may live in root's home. So the process gets a mount namespace in which root's closed folders are
empty open ones with nothing but the interpreter in them, and then becomes a user without any privilege for good.
"""

import os
import subprocess
import sys
from pathlib import Path

from tir_gym.sandboxes.jail.inside import enter, fenced, view

USER = 54321
"""A number that nobody has."""


def python_as_ordinary_user(code: str, *arguments: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run code with this interpreter and this checkout, as this user if that is an ordinary one, else as `USER`.

    Args:
        code: A program; `sys.argv[1:]` are the arguments.
        arguments: Passed to it.
        timeout: Seconds after which it is killed.
    """
    command = [sys.executable, "-c", code, *arguments]
    if os.getuid() == 0:
        command = [sys.executable, __file__, code, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp", "TMPDIR": "/tmp"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=timeout, check=False, cwd="/"
    )


def main() -> None:
    """Give up root, then become the program in the first argument."""
    pieces = view.look([], {}).shown
    checkout = Path(__file__).resolve().parent.parent
    fenced.reach([*pieces, view.Shown(str(checkout), str(checkout))])
    enter.become(USER)
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])


if __name__ == "__main__":
    main()
