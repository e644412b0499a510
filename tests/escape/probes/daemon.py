# Leaves a process behind: own session, double fork, every signal ignored, no output held.
import ctypes
import os
import signal
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(0.2)
print("left a process")
