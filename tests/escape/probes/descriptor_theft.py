# Takes descriptors out of another process: `pidfd_getfd`, /proc/*/fd.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for pid in [*TARGET["pids"], os.getppid(), 1]:
    try:
        handle = os.pidfd_open(pid)
    except OSError as error:
        print(pid, error)
        continue
    for number in range(64):
        got = libc.syscall(438, handle, number, 0)
        if got >= 0:
            print(TARGET["word"], "took descriptor", number, "of", pid, os.readlink(f"/proc/self/fd/{got}"))
            break
    try:
        names = os.listdir(f"/proc/{pid}/fd")
        print(TARGET["word"], "looked into", pid, names)
    except OSError as error:
        print(pid, error)
