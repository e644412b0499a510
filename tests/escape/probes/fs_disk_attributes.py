# Hides bytes where no file size shows them: in extended attributes.
import os

total = 0
for number in range(700):
    try:
        with open(f"a{number}", "w"):
            pass
        for part in range(16):
            os.setxattr(f"a{number}", f"user.{part}", b"x" * 3000)
            total += 3000
    except OSError:
        continue
print(total, "bytes")
if total > TARGET["allowed"]:
    print(TARGET["word"], total, "bytes lie in attributes")
