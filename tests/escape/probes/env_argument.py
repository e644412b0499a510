# Reads another process's command line, where passwords are found.
import os

try:
    seen = set(filter(str.isdigit, os.listdir("/proc")))
except OSError as error:
    print(error)
    seen = set()
for pid in {str(TARGET["pid"]), *seen}:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            print(file.read().replace("\0", " ")[:300])
    except OSError as error:
        print(pid, error)
