# Opens files without end.
import os
import resource

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
made = 0
try:
    while made < TARGET["many"]:
        os.open("/dev/null", os.O_RDONLY)
        made += 1
except OSError as error:
    print(error)
print(made, "files open")
if made > TARGET["allowed"]:
    print(TARGET["word"], made, "files open")
