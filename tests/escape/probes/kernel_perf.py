# Counts and samples what the machine does (`perf_event_open`), its neighbours included.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
for kind, config in ((1, 0), (0, 0), (1, 2)):
    attributes = (ctypes.c_uint32 * 32)(kind, 128, config)
    got = libc.syscall(298, attributes, 0, -1, -1, 0)
    print(TARGET["word"] if got >= 0 else os.strerror(ctypes.get_errno()), "perf", kind)
