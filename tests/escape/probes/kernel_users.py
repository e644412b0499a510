# Becomes another user, or takes another group.
import os

for name, change in (
    ("setuid 0", lambda: os.setuid(0)),
    ("setuid 1", lambda: os.setresuid(1, 1, 1)),
    ("setgid 0", lambda: os.setgid(0)),
    ("setgroups", lambda: os.setgroups([0])),
    ("setgid 1", lambda: os.setresgid(1, 1, 1)),
):
    try:
        before = os.getresuid(), os.getresgid(), os.getgroups()
        change()
        if (os.getresuid(), os.getresgid(), os.getgroups()) != before:
            print(TARGET["word"], name)
    except OSError as error:
        print(name, error)
