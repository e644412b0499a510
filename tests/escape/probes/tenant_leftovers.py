# Looks for what the last user of this place has left: files, variables, the environment, words in memory.
import os
import re

for top in (".", "/tmp", "/dev/shm", "/var/tmp"):
    try:
        names = os.listdir(top)
    except OSError as error:
        print(top, error)
        continue
    for name in names:
        for path in (os.path.join(top, name), os.path.join(top, name, "tenant.txt")):
            try:
                print(open(path).read() if path.endswith("tenant.txt") else "")
            except OSError as error:
                print(error)
print(globals().get("tenant_variable"), os.environ.get("TENANT"))
pattern = re.compile(TARGET["prefix"].encode() + rb"-[0-9a-f]{24}")
try:
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                first, last = (int(number, 16) for number in span.split("-"))
                memory.seek(first)
                print({*pattern.findall(memory.read(last - first))})
except OSError as error:
    print(error)
