# Takes more of the machine than its share: priority, real-time scheduling, locked memory, protection from the killer.
import ctypes
import mmap
import os

for name, change in (
    ("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -10)),
    ("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))),
):
    try:
        change()
        print(TARGET["word"], name)
    except OSError as error:
        print(name, error)
page = mmap.mmap(-1, 64 << 20)
if (
    ctypes.CDLL(None).mlock(
        ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page))), ctypes.c_size_t(64 << 20)
    )
    == 0
):
    print(TARGET["word"], "locked 64 MB")
