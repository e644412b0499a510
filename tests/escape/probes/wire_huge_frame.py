# Announces a reply of 4 GB, then one of negative length, on every descriptor.
import os

for descriptor in range(3, 2048):
    try:
        os.set_blocking(descriptor, False)
        os.write(descriptor, b"\xff\xff\xff\xff" + b"A" * 4096)
    except OSError:
        continue
os._exit(0)
