"""Stands between a host and one server: when the host goes, in whatever way, so does all that the server has started.

    python -I -S keeper.py CONTROL FOLDER COMMAND [ARGUMENT ...]

A program of its own that imports nothing of this package. `CONTROL` is a descriptor whose end of file says that the
host wants no more; a server that does not end by itself soon after (its input has ended, too) is killed, with its
descendants, even those that have left its session. `FOLDER` is the server's own folder, removed at the end; `-` for
none. The exit status is the server's.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

GRACE = 0.5
"""Seconds that a server has to end by itself."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main() -> int:
    control, folder, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    prctl = getattr(ctypes.CDLL(None), "prctl", lambda *arguments: -1)
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.close(control)
        os.setpgid(0, 0)
        if os.getppid() == keeper:
            try:
                os.execv(command[0], command)
            except OSError as error:
                os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)  # the pipes are the server's alone, so that their ends are seen
    _wait(child, control)
    status = _kill_all(child)
    if folder != "-":
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
    return status


def _wait(child: int, control: int) -> None:
    """Until the server has ended or has had its time."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    pidfd = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
    if pidfd is not None:
        poll.register(pidfd, select.POLLIN)
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        for descriptor, _ in poll.poll(20 if pidfd is None or deadline is not None else None):
            if descriptor == pidfd:
                return
            if deadline is None:
                deadline = time.monotonic() + GRACE
                poll.unregister(control)
        if pidfd is None and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return


def _kill_all(child: int) -> int:
    """Kill whatever is left, and tell how the server has ended."""
    code = 0
    for _ in range(1000):
        for pid in _descendants() or [-child]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                code = code if code >= 0 else 128 - code
        time.sleep(0.005)
    return code


def _descendants() -> "list[int]":
    parents = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                parents[pid] = int(stat.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError):
            continue  # gone meanwhile
    found, level = [], {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += sorted(level)
    return found


if __name__ == "__main__":
    sys.exit(main())
