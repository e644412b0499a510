# Ends at once, and goes on for ever in what Python runs at the end: handlers, finalisers, threads.
import atexit
import threading
import time


class Lingers:
    def __del__(self):
        time.sleep(1000)


atexit.register(time.sleep, 1000)
threading.Thread(target=time.sleep, args=(1000,)).start()
threading._shutdown = lambda: time.sleep(1000)
lingers = Lingers()
raise SystemExit(0)
