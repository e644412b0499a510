# Hides memory outside all processes: memory files, System V segments, files in shared memory, full pipes.
import ctypes
import os

ctypes.CDLL(None).prctl(15, TARGET["token"].encode(), 0, 0, 0)  # so that the host can count from outside
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
held = 0
block = 4 << 20


def memory_file():
    number = os.memfd_create("x")
    return os.write(number, b"x" * block)


def segment():
    number = libc.shmget(0, block, 0o1600)
    if number < 0:
        raise OSError("shmget")
    address = libc.shmat(number, None, 0)
    libc.shmctl(number, 0, None)
    ctypes.memset(address, 1, block)
    libc.shmdt(ctypes.c_void_p(address))
    return 0


def file():
    with open(f"/dev/shm/{TARGET['token']}", "ab") as out:
        return out.write(b"x" * block)


for way in (memory_file, segment, file):
    got = 0
    try:
        while got < TARGET["bytes"]:
            done = way()
            got += done
            if not done:
                break
    except OSError as error:
        print(way.__name__, error)
    held = max(held, got)
if held > TARGET["allowed"]:
    print(TARGET["word"], "hides", held, "bytes")
