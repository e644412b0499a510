# Reads and writes another user's sandbox, running beside it: its files.
import os

for top in (TARGET["tenant_work"] + "/..", os.getcwd() + "/..", "/tmp", "/"):
    for name in os.listdir(top) if os.access(top, os.R_OK) else ():
        path = os.path.join(top, name, "tenant.txt")
        try:
            print(open(path).read())
            with open(path, "a") as file:
                file.write("changed")
        except OSError:
            continue
print("looked")
