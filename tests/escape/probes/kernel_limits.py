# Raises its own resource limits.
import resource

for name in ("AS", "DATA", "NPROC", "NOFILE", "CPU", "FSIZE", "CORE", "MEMLOCK", "STACK"):
    number = getattr(resource, f"RLIMIT_{name}")
    soft, hard = resource.getrlimit(number)
    wanted = hard + 1 if hard != resource.RLIM_INFINITY else resource.RLIM_INFINITY
    try:
        resource.setrlimit(number, (soft, wanted))
        if hard != resource.RLIM_INFINITY:
            print(TARGET["word"], "raised", name)
        elif name in ("AS", "NOFILE", "FSIZE", "CORE", "NPROC"):
            print(TARGET["word"], "has no limit", name)
    except (OSError, ValueError) as error:
        print(name, hard, error)
