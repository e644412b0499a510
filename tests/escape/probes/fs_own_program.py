# Overwrites the program that runs it, which is the host's too (CVE-2019-5736).
import errno
import os
import sys

parents = [os.getpid(), os.getppid(), 1]
paths = [f"/proc/{pid}/exe" for pid in parents] + [os.path.realpath(sys.executable), os.__file__]
for path in paths:
    try:
        os.close(os.open(path, os.O_WRONLY))
        print(TARGET["word"], "may write", path)
    except OSError as error:
        # "text file busy" means that only its running stands in the way.
        print(TARGET["word"] if error.errno == errno.ETXTBSY else "", path, error)
