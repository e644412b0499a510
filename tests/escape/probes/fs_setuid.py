# Gains another user's rights through setuid programs: the system's, and one of its own making.
import glob
import os
import shutil
import subprocess
import sys

try:
    shutil.copy(os.path.realpath(sys.executable), "own")
    os.chmod("own", 0o6755)
except OSError as error:
    print(error)
programs = [p for p in glob.glob("/usr/bin/*") + glob.glob("/usr/sbin/*") if os.stat(p).st_mode & 0o6000]
programs += [TARGET["folder"] + "/setuid"]
for program in [p for p in programs if p.endswith(("/su", "/setuid", "/passwd", "/chfn"))]:
    try:
        child = subprocess.Popen(
            [program, "5"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        print(program, error)
        continue
    for _ in range(20):
        try:
            uids = open(f"/proc/{child.pid}/status").read().split("Uid:")[1].split()[:4]
        except (OSError, IndexError):
            break
        if uids[1] != str(os.getuid()):
            print(TARGET["word"], "runs as user", uids[1], "through", program)
            break
    child.kill()
    child.wait()
