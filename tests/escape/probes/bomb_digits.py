# Prints a number of more digits than Python likes to convert.
import sys

try:
    print(10**5000)
except ValueError as error:
    print(error)
sys.set_int_max_str_digits(0)
print(len(str(10**2_000_000 + 1)))
while True:
    str(10**3_000_000)
