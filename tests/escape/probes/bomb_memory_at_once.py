# Asks for more memory than there is, at once, in several ways.
import ctypes

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
for make in (lambda: bytearray(1 << 40), lambda: "x" * (1 << 36), lambda: [0] * (1 << 33), lambda: 1 << (1 << 36)):
    try:
        print(TARGET["word"], len(str(type(make()))))
    except (MemoryError, OverflowError) as error:
        print(repr(error))
