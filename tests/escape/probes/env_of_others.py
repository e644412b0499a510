# Reads the environments and command lines of all processes it can see.
import os

for pid in sorted({*filter(str.isdigit, os.listdir("/proc")), *map(str, TARGET["pids"]), "self", "1"}):
    for name in ("environ", "cmdline", "task/" + pid + "/environ"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                text = file.read()
            if TARGET["prefix"].encode() in text:
                print(text.replace(b"\0", b" "))
        except OSError:
            continue
print("looked")
