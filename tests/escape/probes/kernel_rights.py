# Holds capabilities, may gain them, or is not filtered.
import ctypes

libc = ctypes.CDLL(None)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
sets = (ctypes.c_uint32 * 6)()
libc.capget(header, sets)
print("effective, permitted, inheritable:", [hex(number) for number in sets])
if any(sets):
    print(TARGET["word"], "holds capabilities")
bounding = [number for number in range(64) if libc.prctl(23, number, 0, 0, 0) == 1]
print("bounding:", bounding)
if libc.prctl(39, 0, 0, 0, 0) != 1:
    print(TARGET["word"], "may gain privileges by running a program")
if libc.prctl(21, 0, 0, 0, 0) != 2:
    print(TARGET["word"], "is not filtered")
