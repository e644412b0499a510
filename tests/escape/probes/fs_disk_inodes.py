# Fills the disk with empty files, folders and links.
import os

made = 0
for folder in (".", "/tmp", "/dev/shm"):
    try:
        top = os.path.join(folder, TARGET["token"])
        os.mkdir(top)
        while made < TARGET["many"]:
            os.close(os.open(f"{top}/{made}", os.O_CREAT)) if made % 3 else os.symlink("x" * 100, f"{top}/{made}")
            made += 1
    except OSError as error:
        print(folder, error)
print(made, "files")
if made > TARGET["allowed"]:
    print(TARGET["word"], made, "files exist")
