# Prints what is no text: all bytes, broken UTF-8, half surrogates, NULs.
import os
import sys

for _ in range(20):
    os.write(1, bytes(range(256)) + b"\xed\xa0\x80\xf0\x9f\xff\xc0\xaf\0\0")
try:
    sys.stdout.reconfigure(errors="surrogatepass")
    print("\udcff\ud800 \x00")
except (AttributeError, ValueError) as error:
    print(error)
os.write(1, "é".encode()[:1])
