# Reads and writes another user's sandbox, running beside it: its files.
import os

for top in (TARGET["tenant_work"] + "/..", os.getcwd() + "/..", "/tmp", "/"):
    try:
        names = os.listdir(top)
    except OSError as error:
        print(top, error)
        continue
    for name in names:
        path = os.path.join(top, name, "tenant.txt")
        try:
            print(open(path).read())
            with open(path, "a") as file:
                file.write("changed")
        except OSError:
            continue
print("looked")
