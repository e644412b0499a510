# Reads a file of the host that everybody may read, by its path and by every other way that leads to it.
import os

path = TARGET["secret_file"]
relative = "../" * 12 + path.lstrip("/")
for way in (path, relative, "/proc/self/root" + path, "/proc/1/root" + path, "/proc/1/cwd/" + relative, "//" + path):
    try:
        with open(way) as file:
            print(file.read())
    except OSError as error:
        print(way, error)
for base in ("/", ".", "/usr"):
    try:
        print(os.read(os.open(relative, os.O_RDONLY, dir_fd=os.open(base, os.O_PATH)), 100))
    except OSError as error:
        print(base, error)
