# Asks the kernel about the host's interfaces and processes over netlink.
import os
import socket
import struct

for protocol in range(22):
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as sock:
            sock.bind((0, 0))
            sock.settimeout(0.2)
            print(TARGET["word"], "netlink", protocol)
            if protocol == 0:
                sock.send(struct.pack("=IHHII", 20, 18, 0x301, 1, os.getpid()) + b"\0" * 4)
                print(sock.recv(65536)[:300])
    except OSError as error:
        print(protocol, error)
