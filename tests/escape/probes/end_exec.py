# Puts another program in the interpreter's place.
import os

os.execv("/bin/sh", ["sh", "-c", f"echo replaced; cat {TARGET['secret_file']}; exec sleep 0"])
