# Reads the environments and command lines of all processes it can see.
import os

try:
    seen = set(filter(str.isdigit, os.listdir("/proc")))
except OSError as error:
    print(error)
    seen = set()
for pid in sorted({*seen, *map(str, TARGET["pids"]), str(os.getppid()), "self", "1"}):
    for name in ("environ", "cmdline", "task/" + pid + "/environ"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                text = file.read()
            if TARGET["prefix"].encode() in text:
                print(text.replace(b"\0", b" "))
        except OSError:
            continue
print("looked")
