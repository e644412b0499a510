# Signals a process of the host that belongs to the same user, by every call there is.
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
for pid in TARGET["pids"][:1]:
    for way in (
        lambda: os.kill(pid, signal.SIGUSR1),
        lambda: os.killpg(pid, signal.SIGUSR1),
        lambda: signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGUSR1),
        lambda: libc.syscall(234, pid, pid, signal.SIGUSR1) and os.strerror(ctypes.get_errno()),  # tgkill
        lambda: libc.syscall(200, pid, signal.SIGUSR1) and os.strerror(ctypes.get_errno()),  # tkill
        lambda: libc.sigqueue(pid, signal.SIGUSR1, 0) and os.strerror(ctypes.get_errno()),
        lambda: os.kill(pid, signal.SIGKILL),
    ):
        try:
            print(way())
        except OSError as error:
            print(error)
