# Reads and writes the memory of what supervises it.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


for pid in {os.getppid(), 1} - {0, os.getpid()}:
    for name in ("mem", "maps", "environ", "auxv", "fd", "cwd", "root"):
        path = f"/proc/{pid}/{name}"
        try:
            print(
                TARGET["word"], path, os.listdir(path) if name in ("fd", "cwd", "root") else open(path, "rb").fileno()
            )
        except OSError as error:
            print(path, error)
    buffer = ctypes.create_string_buffer(8)
    here, there = Span(ctypes.addressof(buffer), 8), Span(ctypes.addressof(buffer), 8)
    for call in (libc.process_vm_readv, libc.process_vm_writev):
        done = call(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        print(TARGET["word"] if done > 0 else os.strerror(ctypes.get_errno()), pid, "moved", done, "bytes")
    print(libc.ptrace(16, pid, None, None) or TARGET["word"], "traced", pid)
