# Writes noise on every descriptor, broken UTF-8 and broken JSON among it.
import os

for descriptor in range(3, 2048):
    for noise in (
        b"\x04\0\0\0{]}[",
        b"\x03\0\0\0\xff\xfe\xfd",
        bytes(range(256)) * 16,
        b"\0\0\0\0",
        b"\x02\0\0\0[]",
        b"\x04\0\0\0null",
    ):
        try:
            os.set_blocking(descriptor, False)
            os.write(descriptor, noise)
        except OSError:
            break
os._exit(0)
