# Writes the kernel's settings, with the value they have (a write that is let through is enough).
import os

for path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/user_reserve_kbytes",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/fs/protected_hardlinks",
):
    try:
        with open(path) as file:
            value = file.read()
        with open(path, "w") as file:
            file.write(value)
        print(TARGET["word"], "wrote", path)
    except OSError as error:
        print(path, error)
for path in (
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/proc/1/oom_score_adj",
    "/sys/kernel/mm/ksm/run",
):
    try:
        os.close(os.open(path, os.O_WRONLY))
        print(TARGET["word"], "may write", path)
    except OSError as error:
        print(path, error)
