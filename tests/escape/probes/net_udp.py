# Sends datagrams to the host.
import socket

for host in TARGET["hosts"]:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"out", (host, TARGET["udp_port"]))
            print("sent to", host)
    except OSError as error:
        print(host, error)
