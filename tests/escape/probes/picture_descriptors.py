# Answers a snapshot with descriptors that fill the supervisor's table, and with more than was asked for.
import os
import socket
import struct

real_send, me = socket.socket.send, os.getpid()


def send(sock, data, *flags):
    if os.getpid() == me or len(data) > 1:
        return real_send(sock, data, *flags)
    gifts = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=200i", *gifts))
    for _ in range(3):
        sock.sendmsg([data * 100], [rights])
    for gift in gifts:
        os.close(gift)
    return len(data)


socket.socket.send = send
x = 1
