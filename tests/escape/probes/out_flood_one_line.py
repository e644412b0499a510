# Prints 64 MB without a single newline.
import os

for _ in range(1024):
    os.write(1, b"x" * 65536)
