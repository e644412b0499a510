# Sees the host's processes and what they have open.
import os

for pid in TARGET["pids"]:
    try:
        print(TARGET["word"], "sees", pid, open(f"/proc/{pid}/stat").read()[:60])
    except OSError as error:
        print(pid, error)
    for name in ("fd", "cwd", "root", "map_files"):
        try:
            print(TARGET["word"], name, os.listdir(f"/proc/{pid}/{name}"))
        except OSError as error:
            print(pid, error)
