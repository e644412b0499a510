# Searches its own memory for what the host knew when it made this process.
import re

pattern = re.compile(TARGET["prefix"].encode() + rb"-[0-9a-f]{24}")
found = set()
try:
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            first, last = (int(number, 16) for number in span.split("-"))
            for start in range(first, last, 1 << 20) if rights.startswith("r") else ():
                try:
                    memory.seek(start)
                    found.update(pattern.findall(memory.read(min(1 << 20, last - start))))
                except (OSError, OverflowError, ValueError):
                    break
except OSError as error:
    print(error)
print(sorted(found))
