# Takes memory in many processes, each of them modest.
import ctypes
import os
import time

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
share = TARGET["bytes"] // 12
for _ in range(12):
    if os.fork() == 0:
        held = bytearray(b"x") * share
        time.sleep(2)
        os._exit(len(held) and 0)
time.sleep(1.2)
print(TARGET["word"], "children hold", 12 * share, "bytes")
