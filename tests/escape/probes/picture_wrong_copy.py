# Gives a snapshot that is somebody else: another process answers in the copy's place.
import os
import socket
import time

real_fork, real_send = os.fork, socket.socket.send


def send(sock, data, *flags):
    if real_fork() == 0:
        real_send(sock, data)
        time.sleep(1000)
    time.sleep(0.1)
    return len(data)


socket.socket.send = send
x = 1
