# Reaches a socket that another user's sandbox has opened.
import socket

for name in ("\0" + TARGET["tenant_socket"], TARGET["tenant_work"] + "/socket"):
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(1)
            sock.connect(name)
            print(sock.recv(200))
    except OSError as error:
        print(error)
