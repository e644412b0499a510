# Listens to all packets of the host, on the link and on the IP level.
import select
import socket
import time

sockets = []
for family, kind, protocol in (
    (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
    (socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
):
    try:
        sockets.append(socket.socket(family, kind, protocol))
    except OSError as error:
        print(family, kind, error)
end = time.monotonic() + 1
while sockets and time.monotonic() < end:
    for ready in select.select(sockets, [], [], 0.1)[0]:
        packet = ready.recv(65536)
        if TARGET["prefix"].encode() in packet:
            print(packet)
            end = 0
