# Reads the environment that the host has.
import os
import subprocess

print(dict(os.environ))
print(os.environb)
print(subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout)
