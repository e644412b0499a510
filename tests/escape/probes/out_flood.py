# Prints as fast as it can, on both outputs, for as long as it is let (10 GB if nobody stops it).
import os

block = b"flood " * 10_000 + b"\n"
for _ in range(10 * 2**30 // len(block)):
    os.write(1, block)
    os.write(2, block)
