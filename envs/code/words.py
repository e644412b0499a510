"""A text that is taken apart: words loaded, filtered, and counted or compared."""

from __future__ import annotations

from collections.abc import Callable

from tir_gym.envs.code.draft import Draft
from tir_gym.envs.code.wordings import VOCABULARY
from tir_gym.envs.writing.draft import Infeasible
from tir_gym.records import ToolCall

FILTERS: dict[str, tuple[int, ...]] = {"train": (1, 1, 2), "test": (1, 2, 3)}
"""Filters between loading and the last figure."""


def word_task(d: Draft) -> None:
    """Fill the draft with a text and a chain of steps on its words."""
    rng = d.rng
    pool = rng.sample(VOCABULARY[d.split]["words"], 40)
    # The first words come up more often, as in any language.
    weights = [1 / (rank + 2) for rank in range(len(pool))]
    lines = []
    for _ in range(rng.randrange(25, 45)):
        chosen = rng.choices(pool, weights, k=rng.randrange(5, 11))
        chosen[0] = chosen[0].capitalize()
        lines.append(" ".join(chosen) + rng.choice((".", ".", "!", "?")))
    file = f"{'_'.join(rng.sample(pool, 2))}_{rng.randrange(10, 100)}.txt"
    d.files[file] = "\n".join(lines) + "\n"
    d.intro = d.say("text_intro", file=file)
    filters, end = rng.sample(_FILTERS, rng.choice(FILTERS[d.split])), rng.choice(_ENDS)
    d.claim(word_task, *filters, end)
    d.make_room()
    code = (
        "import re\n"
        f'with open("{file}") as text:\n'
        '    words = re.findall(r"[a-z]+", text.read().lower())\n'
        "print(len(words))"
    )
    d.step("words", code, file=file)
    name = "words"
    for keep in filters:
        name = keep(d, name)
    end(d, name)


def _long(d: Draft, words: str) -> str:
    least = d.rng.randrange(5, 7)
    d.step("long", f"long = [word for word in {words} if len(word) >= {least}]\nprint(len(long))", least=least)
    return "long"


def _with_letter(d: Draft, words: str) -> str:
    letter = d.rng.choice("aeioulrst")
    code = f'having = [word for word in {words} if "{letter}" in word]\nprint(len(having))'
    d.step("with_letter", code, letter=letter)
    return "having"


def _every_nth(d: Draft, words: str) -> str:
    n = d.rng.randrange(2, 5)
    d.step("every_nth", f"picked = {words}[{n - 1}::{n}]\nprint(len(picked))", n=n, ordinal=_ORDINALS[n])
    return "picked"


def _not_first(d: Draft, words: str) -> str:
    code = f"first = {words}[0]\nchanged = [word for word in {words} if word[0] != first[0]]\nprint(len(changed))"
    d.step("not_first", code)
    return "changed"


_ORDINALS = {2: "second", 3: "third", 4: "fourth"}

_FILTERS: tuple[Callable[[Draft, str], str], ...] = (_long, _with_letter, _every_nth, _not_first)


def _most_common(d: Draft, words: str) -> None:
    check = (
        "import collections as _c\n"
        f"_m = _c.Counter({words}).most_common(2)\n"
        "print(len(_m) == 2 and _m[0][1] > _m[1][1])"
    )
    assert d.sandbox is not None
    if d.sandbox.call(ToolCall("python", {"code": check})).content != "True\n":
        raise Infeasible("no word is the most common")
    d.step("most_common", f"from collections import Counter\nprint(Counter({words}).most_common(1)[0][0])")


def _letters(d: Draft, words: str) -> None:
    d.step("letters", f"print(sum(map(len, {words})))")


def _longest(d: Draft, words: str) -> None:
    d.step("longest", f"print(max(sorted(set({words})), key=len))")


def _acrostic(d: Draft, words: str) -> None:
    n = d.rng.randrange(6, 11)
    d.step("acrostic", f'print("".join(word[-1] for word in {words}[:{n}]))', n=n)


_ENDS: tuple[Callable[[Draft, str], None], ...] = (_most_common, _letters, _longest, _acrostic)
