# Fails with an exception whose text takes for ever to make.
import time


class Slow(Exception):
    def __str__(self):
        while True:
            time.sleep(1)

    __repr__ = __str__


raise Slow
