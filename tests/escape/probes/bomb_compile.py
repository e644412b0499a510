# Breaks the compiler: nesting, size, recursion.
import sys

for source in ("(" * 10**5, "-" * 10**5 + "1", "[" * 5000 + "]" * 5000, "x=" * 10**5 + "1", "+".join(["1"] * 10**5)):
    try:
        compile(source, "<bomb>", "exec")
    except (SyntaxError, MemoryError, RecursionError, ValueError) as error:
        print(type(error).__name__)
sys.setrecursionlimit(10**9)


def deeper():
    return deeper() + deeper()


deeper()
