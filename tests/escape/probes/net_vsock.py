# Talks to the hypervisor: network namespaces do not hold this family.
import socket

for cid in (2, 1, 0xFFFFFFFF):
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
            print(TARGET["word"], "has a socket to machine", cid)
            sock.settimeout(0.2)
            sock.connect((cid, 1024))
    except OSError as error:
        print(cid, error)
