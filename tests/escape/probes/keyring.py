# Uses the kernel's keyrings, which no namespace but the user's divides.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
calls = {
    "add_key": lambda: libc.syscall(248, b"user", TARGET["token"].encode(), b"payload", 7, -3),
    "request_key": lambda: libc.syscall(249, b"user", TARGET["token"].encode(), None, 0),
    "session keyring": lambda: libc.syscall(250, 0, -3, 1),
    "user keyring": lambda: libc.syscall(250, 0, -4, 1),
    "join": lambda: libc.syscall(250, 1, TARGET["token"].encode()),
}
for name, call in calls.items():
    print(TARGET["word"] if call() >= 0 else os.strerror(ctypes.get_errno()), name)
