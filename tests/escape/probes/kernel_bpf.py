# Loads programs and makes maps in the kernel (`bpf`).
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
attributes = (ctypes.c_uint32 * 32)(2, 4, 8, 1)  # an array of one element
got = libc.syscall(321, 0, attributes, 128)
print(TARGET["word"] if got >= 0 else os.strerror(ctypes.get_errno()), "bpf")
