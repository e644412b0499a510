# Starts threads without end.
import ctypes
import resource
import threading
import time

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
try:
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
except (OSError, ValueError) as error:
    print("no higher limit:", error)
made = 0
try:
    while made < TARGET["many"]:
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        made += 1
except RuntimeError as error:
    print(error)
time.sleep(0.3)
print(made, "threads")
if made > TARGET["allowed"]:
    print(TARGET["word"], made, "threads")
