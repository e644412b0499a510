# Kills, stops and floods with signals what supervises it, and everybody else it can see.
import os
import signal

pids = {os.getppid(), 1}
host_is_visible = os.path.exists(f"/proc/{TARGET['pid']}")
if host_is_visible:
    pids = {os.getppid()}  # the host's own processes are not to be tried
else:
    try:
        pids |= {*map(int, filter(str.isdigit, os.listdir("/proc")))}
    except OSError as error:
        print(error)
for pid in sorted(pids - {os.getpid(), 0}):
    for number in sorted(signal.valid_signals()):
        try:
            os.kill(pid, number)
        except OSError as error:
            print(pid, error)
            break
