# Leaves a file in every system folder, and beside the modules that the host itself imports.
import os

folders = ["/", "/usr", "/usr/bin", "/usr/lib", "/usr/local/lib", "/etc", "/opt", "/var", "/dev", "/dev/shm", "/tmp"]
for folder in [*folders, *TARGET["prefixes"], os.path.dirname(os.__file__)]:
    try:
        with open(os.path.join(folder, TARGET["token"]), "w") as file:
            file.write("planted")
    except OSError as error:
        print(folder, error)
