# Changes limits, priority, scheduler and cores of a process of the host.
import os
import resource

pid = TARGET["pid"]
for change in (
    lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (77, 77)),
    lambda: os.setpriority(os.PRIO_PROCESS, pid, 7),
    lambda: os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))}),
    lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
):
    try:
        print(change())
    except OSError as error:
        print(error)
