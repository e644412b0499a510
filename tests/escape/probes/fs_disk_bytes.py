# Fills the disk: in the work folder, in /tmp, in shared memory, and in a file that has no name any more.
import os

total = 0
for number, folder in enumerate((".", "/tmp", "/dev/shm", "/var/tmp", ".")):
    try:
        path = os.path.join(folder, f"{TARGET['token']}{number}")
        file = open(path, "wb", buffering=0)
        if number == 4:
            os.unlink(path)
    except OSError as error:
        print(folder, error)
        continue
    try:
        while total < TARGET["bytes"]:
            total += file.write(b"x" * 65536)
    except OSError as error:
        print(folder, error)
print(total, "bytes")
if total > TARGET["allowed"]:
    print(TARGET["word"], total, "bytes lie on the disk")
