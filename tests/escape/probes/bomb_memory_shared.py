# Hides memory where no process's own counter shows it: shared mappings made by children that end.
import ctypes
import mmap
import os
import time

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
maps = []
while len(maps) * (4 << 20) < TARGET["bytes"]:
    maps.append(mmap.mmap(-1, 4 << 20))
    child = os.fork()
    if child == 0:
        for offset in range(0, 4 << 20, 4096):
            maps[-1][offset] = 1
        os._exit(0)
    os.waitpid(child, 0)
for page in maps:
    for offset in range(0, 4 << 20, 4096):
        page[offset]
time.sleep(0.3)
print(TARGET["word"], "shares", len(maps) * 4, "MB")
