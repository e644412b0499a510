"""Numbers that are made, sifted and boiled down: a sequence, what is kept of it, a figure, what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

from tir_gym.envs.code.draft import Draft

FILTERS: dict[str, tuple[int, ...]] = {"train": (0, 1), "test": (1, 2)}
CHANGES: dict[str, tuple[int, ...]] = {"train": (0, 1), "test": (0, 1, 2)}
"""Filters of the sequence, and changes of the figure that comes of it."""


def number_task(d: Draft) -> None:
    """Fill the draft with a chain of steps on numbers."""
    rng = d.rng
    d.intro = d.say("number_intro")
    start, figure = rng.choice(_SEQUENCES), rng.choice(_FIGURES)
    filters = rng.sample(_FILTERS, rng.choice(FILTERS[d.split]))
    changes = rng.sample(_CHANGES, rng.choice(CHANGES[d.split]))
    d.claim(start, *filters, figure, *changes)
    d.make_room()
    name = start(d)
    for operation in (*filters, figure, *changes):
        name = operation(d, name)


def _primes(d: Draft) -> str:
    below = d.rng.randrange(500, 6000)
    code = (
        f"primes = [n for n in range(2, {below}) if all(n % d for d in range(2, int(n**0.5) + 1))]\n"
        "print(len(primes))"
    )  # fmt: skip
    d.step("primes", code, below=below)
    return "primes"


def _generator(d: Draft) -> str:
    rng = d.rng
    a, c, m, start, n = rng.randrange(11, 99), rng.randrange(1, 50), rng.randrange(300, 3000), rng.randrange(10), 0
    n = rng.randrange(80, 400)
    code = (
        f"sequence, x = [], {start}\n"
        f"for _ in range({n}):\n"
        f"    x = ({a} * x + {c}) % {m}\n"
        "    sequence.append(x)\n"
        "print(sequence[-1])"
    )
    d.step("generator", code, a=a, c=c, m=m, start=start, n=n)
    return "sequence"


def _multiples(d: Draft) -> str:
    one, other = d.rng.sample((3, 5, 7, 11, 13), 2)
    below = d.rng.randrange(400, 5000)
    code = (
        f"multiples = [n for n in range(1, {below}) if (n % {one} == 0) != (n % {other} == 0)]\nprint(len(multiples))"
    )
    d.step("multiples", code, one=one, other=other, below=below)
    return "multiples"


_SEQUENCES: tuple[Callable[[Draft], str], ...] = (_primes, _generator, _multiples)


def _last_digit(d: Draft, numbers: str) -> str:
    digit = d.rng.choice((1, 3, 7, 9))
    code = f"ending = [n for n in {numbers} if n % 10 == {digit}]\nprint(len(ending))"
    d.step("last_digit", code, digit=digit)
    return "ending"


def _remainder(d: Draft, numbers: str) -> str:
    m = d.rng.randrange(4, 9)
    r = d.rng.randrange(1, m)
    d.step("remainder", f"left = [n for n in {numbers} if n % {m} != {r}]\nprint(len(left))", m=m, r=r)
    return "left"


def _even_digits(d: Draft, numbers: str) -> str:
    code = f"sums = [int(n) for n in {numbers} if sum(map(int, str(n))) % 2 == 0]\nprint(len(sums))"
    d.step("even_digits", code)
    return "sums"


_FILTERS: tuple[Callable[[Draft, str], str], ...] = (_last_digit, _remainder, _even_digits)


def _sum(d: Draft, numbers: str) -> str:
    d.step("sum", f"figure = sum({numbers})\nprint(figure)")
    return "figure"


def _squares(d: Draft, numbers: str) -> str:
    modulus = d.rng.randrange(1_000, 99_999)
    d.step("squares", f"figure = sum(n * n for n in {numbers}) % {modulus}\nprint(figure)", modulus=modulus)
    return "figure"


def _gap(d: Draft, numbers: str) -> str:
    code = (
        f"ordered = sorted(set({numbers}))\n"
        "figure = sum((b - a) ** 2 for a, b in zip(ordered, ordered[1:]))\n"
        "print(figure)"
    )
    d.step("gaps", code)
    return "figure"


_FIGURES: tuple[Callable[[Draft, str], str], ...] = (_sum, _squares, _gap)


def _next_prime(d: Draft, number: str) -> str:
    code = (
        f"prime = {number} + 1\n"
        "while any(prime % d == 0 for d in range(2, int(prime**0.5) + 1)):\n"
        "    prime += 1\n"
        "print(prime)"
    )
    d.step("next_prime", code)
    return "prime"


def _power(d: Draft, number: str) -> str:
    exponent, modulus = d.rng.randrange(20, 200), d.rng.randrange(5_000, 50_000)
    d.step("power", f"power = pow({number}, {exponent}, {modulus})\nprint(power)", exponent=exponent, modulus=modulus)
    return "power"


def _digit_cubes(d: Draft, number: str) -> str:
    d.step("digit_cubes", f"cubes = sum(int(digit) ** 3 for digit in str({number}))\nprint(cubes)")
    return "cubes"


_CHANGES: tuple[Callable[[Draft, str], str], ...] = (_next_prime, _power, _digit_cubes)
