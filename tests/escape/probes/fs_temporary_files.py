# Looks through the temporary folders for what other programs have left there.
import os

for top in ("/tmp", "/var/tmp", "/dev/shm", "/run"):
    try:
        folders = [os.path.join(top, name) for name in os.listdir(top) if name.startswith("tir-gym-escape")]
    except OSError as error:
        print(top, error)
        continue
    for folder, _, names in (found for top in folders for found in os.walk(top)):
        for name in names:
            try:
                if os.path.isfile(os.path.join(folder, name)):
                    print(open(os.path.join(folder, name)).read(100))
            except OSError as error:
                print(name, error)
