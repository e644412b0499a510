# Opens a socket of every family that the kernel knows: raw, packet, crypto, virtual machine, bluetooth, can, ...
import socket

for family in range(1, 48):
    for kind in (1, 2, 3, 5, 10):
        try:
            with socket.socket(family, kind, 0) as sock:
                # An unnamed pair of AF_UNIX reaches nobody; other probes try whom a named one reaches.
                if family != socket.AF_UNIX:
                    print(TARGET["word"], "family", family, "kind", kind, "as", sock.fileno())
        except OSError as error:
            print(family, kind, error)
