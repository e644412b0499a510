# Has a descriptor besides its input and output that leads anywhere.
import os
import stat

kinds = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFBLK: "disk",
}
for number in range(3, 2048):
    try:
        about = os.fstat(number)
    except OSError:
        continue
    kind = kinds.get(stat.S_IFMT(about.st_mode), "device")
    if kind == "device" and about.st_rdev == os.makedev(1, 3):
        kind = "pipe"  # /dev/null leads nowhere
    # A pipe or socket to its own supervisor is how it works; what may be done with it, other probes try.
    print(TARGET["word"] if kind not in ("socket", "pipe") else "", number, kind)
