# Catches and blocks every signal and exception that could end it, and computes on.
import signal

for number in signal.valid_signals():
    try:
        signal.signal(number, lambda number, frame: None)
    except (OSError, ValueError):
        continue
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
while True:
    try:
        while True:
            pass
    except BaseException:
        continue
