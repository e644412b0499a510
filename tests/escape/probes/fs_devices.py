# Makes device nodes and opens the kernel's own: disks, memory, the log.
import os
import stat

for name, kind, major, minor in (
    ("mem", stat.S_IFCHR, 1, 1),
    ("kmsg", stat.S_IFCHR, 1, 11),
    ("disk", stat.S_IFBLK, 8, 0),
):
    try:
        os.mknod(name, kind | 0o600, os.makedev(major, minor))
        print(TARGET["word"], "made the device", name)
    except OSError as error:
        print(name, error)
for path in ("/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/proc/kcore"):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        print(TARGET["word"], "opened", path)
    except OSError as error:
        print(path, error)
