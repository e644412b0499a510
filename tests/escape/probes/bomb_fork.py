# Forks without end, each child forking on.
import ctypes
import os
import resource
import time

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
try:
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
except (OSError, ValueError) as error:
    print("no higher limit:", error)
end = time.monotonic() + 1.0
made = 0
while made < TARGET["many"] and time.monotonic() < end:
    try:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
    except OSError as error:
        print(error)
        break
time.sleep(0.3)
print(made, "children")
if made > TARGET["allowed"]:
    print(TARGET["word"], made, "children")
