# Reads another process's command line, where passwords are found.
import os

for pid in {str(TARGET["pid"]), *filter(str.isdigit, os.listdir("/proc"))}:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            print(file.read().replace("\0", " ")[:300])
    except OSError as error:
        print(pid, error)
