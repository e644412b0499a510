# Reads and changes the memory of a process of the host: `process_vm_readv`, `process_vm_writev`, /proc/*/mem.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
pid, address = TARGET["pid"], TARGET["address"]
buffer = ctypes.create_string_buffer(64)


class Span(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


here, there = Span(ctypes.addressof(buffer), 48), Span(address, 48)
got = libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
print(buffer.raw if got > 0 else os.strerror(ctypes.get_errno()))
try:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        print(memory.read(48))
except OSError as error:
    print(error)
buffer[:5] = b"spoil"
here.length = there.length = 5
if libc.process_vm_writev(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
    print(os.strerror(ctypes.get_errno()))
