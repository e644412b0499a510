# Waits for ever, and uses nothing.
import time

time.sleep(1000)
