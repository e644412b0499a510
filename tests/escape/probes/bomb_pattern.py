# Matches a pattern that takes longer than the universe, in a call that looks at no signal.
import re

print(re.match(r"(a|aa|a?)+$" * 3, "a" * 60 + "b"))
