# Fills the kernel's buffers: pipes and sockets, which no process's memory shows.
import fcntl
import os

held = 0
try:
    while held < TARGET["bytes"]:
        reader, writer = os.pipe()
        try:
            fcntl.fcntl(writer, 1031, 1 << 20)
        except OSError:
            pass
        os.set_blocking(writer, False)
        try:
            while True:
                held += os.write(writer, b"x" * 65536)
        except BlockingIOError:
            continue
except OSError as error:
    print(error)
print(held, "bytes in pipes")
if held > TARGET["allowed"]:
    print(TARGET["word"], held, "bytes lie in pipes")
