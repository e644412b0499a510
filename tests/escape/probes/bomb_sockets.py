# Fills the buffers of sockets in many processes: memory of the kernel, which no process shows as its own.
import os
import socket
import time

share = TARGET["bytes"] // 8
for number in range(8):
    if os.fork() == 0:
        held, keep = 0, []
        try:
            while held < share:
                keep += socket.socketpair()
                for end in keep[-2:]:
                    end.setblocking(False)
                    try:
                        while True:
                            held += end.send(b"x" * 65536)
                    except BlockingIOError:
                        continue
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        with open(f"held{number}", "w") as file:
            file.write(str(held))
        time.sleep(20)
        os._exit(0)
end = time.monotonic() + 6
while time.monotonic() < end and len([name for name in os.listdir(".") if name.startswith("held")]) < 8:
    time.sleep(0.1)
time.sleep(0.2)
total = sum(int(open(name).read() or 0) for name in os.listdir(".") if name.startswith("held"))
print(total, "bytes in sockets")
if total > TARGET["allowed"]:
    print(TARGET["word"], total, "bytes lie in sockets")
