# Reads the host's requests in the worker's place: leaves a child that waits on every descriptor before it.
import os
import threading
import time


def steal(descriptor):
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        pass


if os.fork() == 0:
    os.setsid()
    for descriptor in (0, *range(3, 64)):
        if os.path.exists(f"/proc/self/fd/{descriptor}"):
            threading.Thread(target=steal, args=(descriptor,), daemon=True).start()
    time.sleep(5)
    os._exit(0)
time.sleep(0.3)
print("left")
