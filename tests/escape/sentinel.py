"""A process of the host that an attacker would like to read, signal or change. Started by `host.py`.

The first line that it reads is its secret; each further line is answered with what it knows about itself.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path

signals: list[int] = []
for number in sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}):
    signal.signal(number, lambda number, frame: signals.append(number))
# Where the kernel lets only parents trace (Yama), this one lets everybody: the wall must be the sandbox's.
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)

memory = ctypes.create_string_buffer(sys.stdin.readline().strip().encode())
first = bytes(memory)
print(json.dumps({"address": ctypes.addressof(memory)}), flush=True)

for _line in sys.stdin:
    about = {
        "signals": signals,
        "memory": bytes(memory) == first,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)),
        "scheduler": os.sched_getscheduler(0),
        "traced": Path("/proc/self/status").read_text().split("TracerPid:")[1].split()[0],
    }
    print(json.dumps(about), flush=True)
