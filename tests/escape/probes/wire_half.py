# Sends half a reply and stops for good.
import os
import signal

for descriptor in range(3, 2048):
    try:
        os.set_blocking(descriptor, False)
        os.write(descriptor, b'\x00\x01\x00\x00{"n": 1, ')
    except OSError:
        continue
os.kill(os.getpid(), signal.SIGSTOP)
