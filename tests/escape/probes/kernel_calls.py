# Makes the calls that no tool needs and that exploits begin with; each must be refused before it looks at anything.
import ctypes
import errno
import os

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
calls = {
    "iopl": (172, 9),
    "ioperm": (173, 1 << 40, 1, 1),
    "modify_ldt": (154, 7, 0, 0),
    "personality": (135, 0x0040000),
    "kexec_load": (246, 0, 99, 0, 99),
    "kexec_file_load": (320, -1, -1, 0, 0, 99),
    "init_module": (175, 0, 0, 0),
    "finit_module": (313, -1, 0, 99),
    "delete_module": (176, 0, 0),
    "swapon": (167, 0, 0),
    "swapoff": (168, 0),
    "reboot": (169, 0, 0, 0, 0),
    "settimeofday": (164, 1, 1),
    "clock_settime": (227, 99, 0),
    "adjtimex": (159, 1),
    "clock_adjtime": (305, 99, 1),
    "acct": (163, 1),
    "quotactl": (179, 1 << 20, 0, 0, 0),
    "syslog": (103, 3, 0, 0),
    "fanotify_init": (300, 0x999, 0),
    "fanotify_mark": (301, -1, 0, 0, 0, 0),
    "open_by_handle_at": (304, -1, 1, 0),
    "name_to_handle_at": (303, -1, 1, 1, 1, 0),
    "vmsplice": (278, -1, 0, 1, 0),
    "move_pages": (279, 0, 1, 1, 1, 1, 0),
    "migrate_pages": (256, 0, 1, 1, 1),
    "mbind": (237, 1, 1, 99, 0, 0, 0),
    "set_mempolicy": (238, 99, 1, 1),
    "kcmp": (312, 1, 1, 99, 0, 0),
    "io_uring_enter": (426, -1, 0, 0, 99, 0, 0),
    "io_uring_register": (427, -1, 0, 0, 0),
    "keyctl": (250, 999),
    "pidfd_getfd": (438, -1, 0, 0),
    "process_madvise": (440, -1, 0, 0, 0, 0),
    "sysfs": (139, 99, 0),
    "ustat": (136, 0, 0),
    "vhangup": (153,),
    "sethostname": (170, 1, 9999),
    "setdomainname": (171, 1, 9999),
}
refused = {errno.EPERM, errno.ENOSYS, errno.EACCES}
for name, (number, *arguments) in calls.items():
    if name == "vhangup" and os.path.exists(f"/proc/{TARGET['pid']}"):
        continue
    ctypes.set_errno(0)
    got = libc.syscall(number, *[ctypes.c_long(argument) for argument in arguments])
    if got >= 0 or ctypes.get_errno() not in refused:
        print(TARGET["word"], name, got, os.strerror(ctypes.get_errno()))
