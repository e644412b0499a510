# Sets up io_uring, whose operations pass by a filter of system calls.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
got = libc.syscall(425, 4, ctypes.create_string_buffer(256))
print(TARGET["word"] if got >= 0 else os.strerror(ctypes.get_errno()), "io_uring_setup")
