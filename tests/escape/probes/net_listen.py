# Opens a port that the host, and with it everybody, can reach.
import socket
import time

try:
    server = socket.create_server(("0.0.0.0", TARGET["free_port"]))
    server.settimeout(2)
    server.accept()[0].send(TARGET["token"].encode())
    time.sleep(0.3)
except OSError as error:
    print(error)
