# Holds capabilities, may gain them, or is not filtered.
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    if int(status[name], 16):
        print(TARGET["word"], name, status[name])
for name, value in (("NoNewPrivs", "1"), ("Seccomp", "2")):
    if status[name] != value:
        print(TARGET["word"], name, status[name])
print("looked")
