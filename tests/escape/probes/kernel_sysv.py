# Reads shared memory of the host, and makes some of its own, by System V and POSIX names.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
address = libc.shmat(TARGET["shm"], None, 0o10000)
if address not in (None, ctypes.c_void_p(-1).value):
    print(ctypes.string_at(address, 100))
else:
    print(os.strerror(ctypes.get_errno()))
for name, got in (
    ("shmget", libc.shmget(0, 4096, 0o1600)),
    ("msgget", libc.msgget(0, 0o1600)),
    ("semget", libc.semget(0, 1, 0o1600)),
):
    print(name, got)
    if got >= 0:
        for remove in (libc.shmctl, libc.msgctl):
            remove(got, 0, None)
        libc.semctl(got, 0, 0)
