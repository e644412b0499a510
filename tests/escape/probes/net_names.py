# Resolves names, a way out where only DNS is open.
import socket

try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((TARGET["hosts"][-1], TARGET["udp_port"]))
        sock.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04leak\x04test\x00\x00\x10\x00\x01")
except OSError as error:
    print(error)
try:
    print(socket.getaddrinfo("localhost", 80))
except OSError as error:
    print(error)
