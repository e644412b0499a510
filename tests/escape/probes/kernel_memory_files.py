# Makes memory that no file system and no limit counts: `memfd_create`, `memfd_secret`.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for name, got in (
    ("memfd", libc.syscall(319, b"x", 0)),
    ("secret", libc.syscall(447, 0)),
    ("huge", libc.syscall(319, b"x", 4)),
):
    print(TARGET["word"] if got >= 0 else os.strerror(ctypes.get_errno()), name)
