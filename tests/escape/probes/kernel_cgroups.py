# Makes control groups, moves itself, plants a release agent.
import os

made = []
for top in (
    "/sys/fs/cgroup",
    *[os.path.join("/sys/fs/cgroup", name) for name in ("unified", "memory", "pids", "cpu", "systemd", "hugetlb")],
):
    path = os.path.join(top, TARGET["token"])
    try:
        os.mkdir(path)
        made.append(path)
        print(TARGET["word"], "made", path)
    except OSError as error:
        print(path, error)
    for name in ("cgroup.procs", "release_agent", "notify_on_release", "memory.max", "cgroup.subtree_control"):
        try:
            os.close(os.open(os.path.join(top, name), os.O_WRONLY))
            print(TARGET["word"], "may write", name)
        except OSError as error:
            print(name, error)
for path in made:
    os.rmdir(path)
