# Connects to a listener that has no path, only a name in the network namespace.
import socket

for kind, name in ((socket.SOCK_STREAM, TARGET["abstract"]), (socket.SOCK_DGRAM, TARGET["abstract"] + "d")):
    try:
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.connect("\0" + name)
            sock.send(b"out")
    except OSError as error:
        print(kind, error)
