# Prints sequences that rewrite titles, colours and what was shown before.
print("\x1b]0;owned\x07\x1b[2J\x1b[1;1H\x1b[8mhidden\x1b[0m\r\nshown\x1b[?1049h\x9b31m")
