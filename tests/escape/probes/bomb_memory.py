# Takes memory without end, in one process.
import ctypes

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
held = []
while len(held) << 20 < TARGET["bytes"]:
    held.append(bytearray(b"x") * (1 << 20))
print(TARGET["word"], "holds", len(held), "MB")
