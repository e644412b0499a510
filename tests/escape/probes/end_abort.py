# Aborts, in the hope of a core dump that lies on the host.
import os
import resource

try:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
except (OSError, ValueError) as error:
    print(error)
os.abort()
