# Closes every descriptor, its way to report included, and goes on.
import os
import time

os.closerange(0, 4096)
time.sleep(0.2)
