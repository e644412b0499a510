# Calls the kernel by its other doors, 32-bit (`int 0x80`) and x32, where a filter of 64-bit calls does not look.
import ctypes
import mmap
import os

codes = {
    "ia32": bytes.fromhex("b814000000cd80c3"),  # getpid
    "x32": bytes.fromhex("b8270000400f05c3"),
}
for name, code in codes.items():
    child = os.fork()
    if child == 0:
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        got = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        if got == os.getpid():
            os.write(1, f"{TARGET['word']} {name}\n".encode())
        os._exit(0)
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
