# Is photographed at its limits: with threads, children, open files and most of its memory.
import os
import threading
import time

held = bytearray(b"x") * TARGET["bytes"]
for _ in range(6):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
for _ in range(4):
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)
files = [os.open("/dev/null", os.O_RDONLY) for _ in range(150)]
x = 1
