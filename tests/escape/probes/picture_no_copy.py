# Spoils the making of snapshots: forks that pretend, ends that do not end.
import os
import time

os.fork = lambda: 0
os._exit = lambda status: time.sleep(1000)
os.waitpid = lambda *arguments: (0, 0)
x = 1
