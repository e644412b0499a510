# Plants what never ends, or never begins, where the host will fetch a file: FIFO, device, socket, a huge hole.
import os
import socket

os.mkfifo("fifo")
os.symlink("/dev/zero", "zero")
os.symlink("/dev/stdin", "stdin")
try:
    socket.socket(socket.AF_UNIX).bind("socket")
except OSError as error:
    print(error)
try:
    with open("hole", "wb") as file:
        file.truncate(1 << 33)
except OSError as error:
    print(error)
print("planted")
