"""Functions to write: what they must do in words, a reference, examples to see and hidden tests.

Every function has numbers of its own drawn into its rules, so that no two tasks ask for quite the same one. The
reference is what the gold submits; its results, found by running it in a jail, are what the hidden tests expect.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.code.wordings import VOCABULARY

EXAMPLES = 3
TESTS = 20


@dataclass(frozen=True)
class Function:
    """A function that is asked for."""

    name: str
    words: str
    """What it must do."""
    code: str
    """A module that does it."""
    inputs: list[list[Any]]
    """Arguments, examples first."""


def draw_function(split: Split, rng: random.Random) -> Function:
    """A function of the split, its rules drawn."""
    return rng.choice(_FUNCTIONS[split])(rng)


def _inputs(draw: Callable[[], list[Any]]) -> list[list[Any]]:
    """Arguments, each once."""
    found: list[list[Any]] = []
    while len(found) < EXAMPLES + TESTS:
        arguments = draw()
        if arguments not in found:
            found.append(arguments)
    return found


def _checksum(rng: random.Random) -> Function:
    weights, modulus = rng.sample(range(2, 10), 3), rng.randrange(50, 200)
    return Function(
        "checksum",
        "takes a text of digits. Multiply the digits, from left to right, by the weights "
        f"{weights[0]}, {weights[1]}, {weights[2]}, {weights[0]}, {weights[1]} and so on, add the products up, and "
        f"return the sum's remainder modulo {modulus}, a whole number",
        f"def checksum(digits):\n    weights = {weights}\n"
        "    total = sum(int(digit) * weights[i % 3] for i, digit in enumerate(digits))\n"
        f"    return total % {modulus}\n",
        _inputs(lambda: ["".join(rng.choices("0123456789", k=rng.randrange(0, 25)))]),
    )


def _price(rng: random.Random) -> Function:
    first, second = rng.randrange(5, 20), rng.randrange(30, 90)
    prices = sorted(rng.sample(range(20, 120), 3), reverse=True)
    return Function(
        "price",
        f"takes a whole number of pieces, 0 or more, and returns what they cost: {prices[0]} for each of the first "
        f"{first}, {prices[1]} for each one after these up to number {second}, and {prices[2]} for each one beyond",
        "def price(pieces):\n"
        f"    low = min(pieces, {first})\n"
        f"    middle = max(0, min(pieces, {second}) - {first})\n"
        f"    high = max(0, pieces - {second})\n"
        f"    return low * {prices[0]} + middle * {prices[1]} + high * {prices[2]}\n",
        _inputs(lambda: [rng.choice((rng.randrange(first + 2), rng.randrange(200), second, first))]),
    )


def _merge(rng: random.Random) -> Function:
    gap = rng.randrange(1, 6)

    def draw() -> list[Any]:
        starts = [rng.randrange(0, 80) for _ in range(rng.randrange(0, 9))]
        return [[[start, start + rng.randrange(0, 9)] for start in starts]]

    return Function(
        "merge",
        "takes a list of intervals, each a list of a start and an end, in any order. Join two intervals whenever one "
        f"begins at most {gap} after the other ends, until none can be joined, and return what is left as a list of "
        "lists, sorted by start",
        "def merge(intervals):\n    merged = []\n    for start, end in sorted(intervals):\n"
        f"        if merged and start - merged[-1][1] <= {gap}:\n"
        "            merged[-1][1] = max(merged[-1][1], end)\n        else:\n            merged.append([start, end])\n"
        "    return merged\n",
        _inputs(draw),
    )


def _encode(rng: random.Random) -> Function:
    vowels, others = rng.randrange(1, 5), rng.randrange(2, 20)
    words = VOCABULARY["train"]["words"]
    return Function(
        "encode",
        f"takes a text of lower-case letters and spaces. Replace each vowel (a, e, i, o, u) by the vowel {vowels} "
        f"places further in that list, starting over after u; each other letter by the letter {others} places further "
        "in the alphabet, starting over after z; keep spaces; and return the text",
        'def encode(text):\n    vowels = "aeiou"\n    letters = "abcdefghijklmnopqrstuvwxyz"\n    coded = ""\n'
        "    for letter in text:\n        if letter in vowels:\n"
        f"            coded += vowels[(vowels.index(letter) + {vowels}) % 5]\n        elif letter in letters:\n"
        f"            coded += letters[(letters.index(letter) + {others}) % 26]\n        else:\n"
        "            coded += letter\n    return coded\n",
        _inputs(lambda: [" ".join(rng.sample(words, rng.randrange(0, 4)))]),
    )


def _robot(rng: random.Random) -> Function:
    size, step = rng.randrange(5, 12), rng.randrange(2, 5)
    return Function(
        "walk",
        f"takes a text of the letters N, E, S and W and follows it on a board of {size} by {size} fields, from [0, 0]. "
        f"N adds {step} to the second number, S takes {step} from it, E adds 1 to the first, W takes 1 from it. "
        "Whoever leaves the board comes in again on the opposite side. Return the last field as a list of two numbers",
        "def walk(moves):\n    x = y = 0\n"
        f'    ways = {{"N": (0, {step}), "S": (0, -{step}), "E": (1, 0), "W": (-1, 0)}}\n'
        "    for move in moves:\n        dx, dy = ways[move]\n"
        f"        x, y = (x + dx) % {size}, (y + dy) % {size}\n    return [x, y]\n",
        _inputs(lambda: ["".join(rng.choices("NESW", k=rng.randrange(0, 30)))]),
    )


def _collapse(rng: random.Random) -> Function:
    factor, limit = rng.randrange(2, 5), rng.randrange(40, 200)
    return Function(
        "collapse",
        f"takes a list of whole numbers. Go through it from left to right and keep a pile: if the next number equals "
        f"the top of the pile, take the top away and put it back multiplied by {factor}, unless that is more than "
        f"{limit}: then put nothing back. Else put the number on the pile. Return the pile as a list, the top last",
        "def collapse(numbers):\n    pile = []\n    for number in numbers:\n"
        "        if pile and pile[-1] == number:\n            top = pile.pop()\n"
        f"            if top * {factor} <= {limit}:\n                pile.append(top * {factor})\n"
        "        else:\n            pile.append(number)\n    return pile\n",
        _inputs(lambda: [[rng.choice((1, 2, 2, 3, 4, 6)) for _ in range(rng.randrange(0, 20))]]),
    )


def _survivors(rng: random.Random) -> Function:
    step, left = rng.randrange(3, 8), rng.randrange(2, 5)
    return Function(
        "survivors",
        f"takes a whole number n. The numbers 1 to n stand in a circle; beginning with 1, count to {step} and send "
        f"away the one on whom the count ends, then go on counting with the next, until no more than {left} are left. "
        "Return those as a sorted list",
        f"def survivors(n):\n    circle, at = list(range(1, n + 1)), 0\n    while len(circle) > {left}:\n"
        f"        at = (at + {step} - 1) % len(circle)\n        circle.pop(at)\n    return sorted(circle)\n",
        _inputs(lambda: [rng.randrange(0, 90)]),
    )


def _zigzag(rng: random.Random) -> Function:
    rows = rng.randrange(3, 6)
    words = VOCABULARY["test"]["words"]
    return Function(
        "zigzag",
        f"takes a text and writes it in a zigzag over {rows} rows: the first character into the top row, the next one "
        "into the row below, and so on down to the last row and up again. Return the rows from top to bottom, joined",
        "def zigzag(text):\n"
        f'    rows = [""] * {rows}\n    at, way = 0, 1\n    for character in text:\n        rows[at] += character\n'
        f"        if not 0 <= at + way < {rows}:\n            way = -way\n        at += way\n"
        '    return "".join(rows)\n',
        _inputs(lambda: ["".join(rng.sample(words, rng.randrange(0, 5)))]),
    )


_FUNCTIONS: dict[Split, tuple[Callable[[random.Random], Function], ...]] = {
    "train": (_checksum, _price, _merge, _encode),
    "test": (_robot, _collapse, _survivors, _zigzag),
}
