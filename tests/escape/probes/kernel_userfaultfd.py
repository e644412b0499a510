# Holds the kernel still in the middle of a copy (`userfaultfd`), the helper of many exploits.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for flags in (0, 1):
    got = libc.syscall(323, flags)
    print(TARGET["word"] if got >= 0 else os.strerror(ctypes.get_errno()), "userfaultfd", flags)
