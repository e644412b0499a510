"""Whether this kernel lets an ordinary user trace a child of its own, asked without anything of the jail's."""

from __future__ import annotations

import ctypes
import os
import signal

from ordinary_user import python_as_ordinary_user

_SEIZE = 0x4206
_ASK = "import sys; sys.path.insert(0, {folder!r}); import tracing; print(tracing.refusal() or '')"


def refusal() -> str | None:
    """Why this process may trace no child; `None` where it may."""
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    refused = libc.ptrace(_SEIZE, child, None, None) != 0
    reason = os.strerror(ctypes.get_errno()) if refused else None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return reason


def users_refusal() -> str | None:
    """The same of an ordinary user's process."""
    done = python_as_ordinary_user(_ASK.format(folder=os.path.dirname(os.path.abspath(__file__))))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() or None
