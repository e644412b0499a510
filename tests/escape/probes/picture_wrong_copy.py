# Gives a snapshot that is somebody else: another process answers in the copy's place.
import os
import socket
import time

real_fork, real_send, me = os.fork, socket.socket.send, os.getpid()


def send(sock, data, *flags):
    if os.getpid() == me or len(data) > 1:
        return real_send(sock, data, *flags)
    if real_fork() == 0:
        real_send(sock, data)
        time.sleep(1000)
    time.sleep(0.1)
    return len(data)


socket.socket.send = send
x = 1
