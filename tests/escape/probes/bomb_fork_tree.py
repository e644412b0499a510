# Forks so that parents end at once and nobody is left to be killed by its number.
import ctypes
import os
import time

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
end = time.monotonic() + 3
generation = 0
while time.monotonic() < end and generation < TARGET["many"]:
    try:
        if os.fork():
            os._exit(0) if generation else time.sleep(2)
            break
        generation += 1
        os.setsid()
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    except OSError:
        time.sleep(0.01)
