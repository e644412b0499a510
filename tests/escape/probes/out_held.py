# Leaves a grandchild that holds the output open, so that whoever waits for its end waits long.
import ctypes
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can find it
        time.sleep(60)
    os._exit(0)
os.wait()
print("done")
