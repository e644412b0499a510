# Connects to a TCP listener of the host, on loopback and on its own address.
import socket

for host in [*TARGET["hosts"], "localhost", "::1", "0.0.0.0"]:
    try:
        socket.create_connection((host, TARGET["tcp_port"]), timeout=0.3).close()
        print("connected to", host)
    except OSError as error:
        print(host, error)
