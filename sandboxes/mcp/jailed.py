"""Runs inside a slot of the jail, as its first process: starts one server on the slot's socket and ends with it.

Only its source gets there, so it imports nothing of this package.
"""

import os
import resource
import select
import socket
import sys
import time
from typing import Any

GRACE = 0.5
"""Seconds that a server has to end by itself once its input has ended."""


def main(host: socket.socket, config: "dict[str, Any]") -> None:
    """Run the server, until it ends or the host is gone; what is left then dies with this process."""
    command, limits = config["command"], config["limits"]
    child = os.fork()
    if child == 0:
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(host.fileno(), 0)
            os.dup2(host.fileno(), 1)
            os.dup2(nothing, 2)
            os.closerange(3, 65536)
            os.setsid()
            for kind, bound in (
                (resource.RLIMIT_CORE, 0),
                (resource.RLIMIT_DATA, limits["memory"]),
                (resource.RLIMIT_NPROC, limits["processes"] + 2),
                (resource.RLIMIT_FSIZE, limits["disk"]),
            ):
                resource.setrlimit(kind, (bound, bound))
            program = command[0] or sys.executable  # which may stand elsewhere in here
            os.execv(program, [program, *command[1:]])
        finally:
            os._exit(127)
    poll = select.poll()
    poll.register(host, select.POLLRDHUP)
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        if poll.poll(20) and deadline is None:
            deadline = time.monotonic() + GRACE
            poll.unregister(host)
