# Signals everybody it may (`kill(-1)`), unless the sentinel could be reached: then it has got through already.
import os
import signal

try:
    os.kill(TARGET["pid"], 0)
    print(TARGET["word"], "reaches the sentinel")
except OSError as error:
    print(error)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for number in (signal.SIGUSR1, signal.SIGCONT):
        try:
            os.kill(-1, number)
        except OSError as error:
            print(error)
