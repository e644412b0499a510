# Connects to a listener of the host by its path, as programs do with an engine's or a desktop's socket.
import os
import socket

path = TARGET["unix_path"]
for way in (path, "/proc/1/root" + path, "../" * 12 + path.lstrip("/")):
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(way)
            print("connected by", way)
    except OSError as error:
        print(way, error)
for known in ("/var/run/docker.sock", "/run/podman/podman.sock", "/run/dbus/system_bus_socket", "/dev/log"):
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(known)
            print(TARGET["word"], "connected to", known)
    except OSError as error:
        print(known, os.strerror(error.errno or 0))
