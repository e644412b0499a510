# Makes and enters namespaces, in which it would be root again and near to kernel code that few have tried.
import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
flags = {
    "user": 1 << 28,
    "mount": 1 << 17,
    "pid": 1 << 29,
    "net": 1 << 30,
    "ipc": 1 << 27,
    "uts": 1 << 26,
    "cgroup": 1 << 25,
    "time": 1 << 7,
}
for name, flag in flags.items():
    child = os.fork()
    if child == 0:
        for also in (0, 1 << 28):
            if libc.unshare(flag | also) == 0:
                os.write(1, f"{TARGET['word']} unshared {name}\n".encode())
                break
        os._exit(0)
    os.waitpid(child, 0)
    got = libc.syscall(56, flag | 17 if name != "time" else -1, None, None, None, None)  # clone
    if got == 0:
        os._exit(0)
    if got > 0:
        os.waitpid(got, 0)
        print(TARGET["word"], "cloned into", name)
arguments = (ctypes.c_uint64 * 11)(1 << 28, 0, 0, 0, 17)
got = libc.syscall(435, arguments, 88)  # clone3
if got == 0:
    os._exit(0)
if got > 0:
    os.waitpid(got, 0)
    print(TARGET["word"], "clone3")
for name in ("user", "mnt", "net", "pid"):
    for pid in ("1", str(os.getppid()), str(TARGET["pid"])):
        try:
            if libc.setns(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0) == 0:
                print(TARGET["word"], "entered", name, "of", pid)
        except OSError as error:
            print(error)
