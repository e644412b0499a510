# Sets the machine's clock, to the time that it shows.
import time

for clock in (time.CLOCK_REALTIME,):
    try:
        time.clock_settime(clock, time.clock_gettime(clock))
        print(TARGET["word"], "set the clock")
    except OSError as error:
        print(error)
