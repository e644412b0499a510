# Writes, renames and removes in folders of the host that everybody may write.
import os

for path in (TARGET["public"], "/proc/self/root" + TARGET["public"], "/tmp/../" + TARGET["public"]):
    try:
        with open(os.path.join(path, "planted"), "w") as file:
            file.write("planted")
    except OSError as error:
        print(path, error)
for change in (
    lambda: os.rename(TARGET["secret_file"], TARGET["public"] + "/moved"),
    lambda: os.chmod(TARGET["folder"], 0o700),
    lambda: os.truncate(TARGET["secret_file"], 3),
):
    try:
        change()
    except OSError as error:
        print(error)
