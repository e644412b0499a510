"""Questions about a world, with the documents that one has to read for the answer.

A question is a plan: which documents are visited, and where the name to search for next is found. What calls that takes
is known once the documents are written; see `paths.py`. A question is of the split that its chain of facts belongs to.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from tir_gym.env import Split
from tir_gym.envs.search.documents import in_text
from tir_gym.envs.search.texts import DESCRIBED, FACTS, FactText, Kind
from tir_gym.envs.search.tools import PAGE
from tir_gym.envs.search.world import Fact, Thing, World
from tir_gym.envs.writing.draft import Infeasible

HOPS: dict[Split, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "train": ((1, 2, 3), (35, 40, 38)),
    "test": ((2, 3, 4), (35, 38, 27)),
}
"""Documents on the way to an answer, and how often."""

_STARTS: dict[Kind, int] = {"company": 5, "book": 5, "school": 3, "festival": 3, "prize": 4, "person": 2}
_DESCRIBED = 0.3
"""How often a thing is described where it can be."""


@dataclass(frozen=True)
class Visit:
    """A document that is searched for and read."""

    title: str
    query: str
    told_by: int | None = None
    """The visit in which the query was read, a name; `None`: in the request."""
    keys: tuple[str, ...] = ()
    """Texts that `find` would take to what is read there."""
    passage: str | None = None
    """What to look for where the document is too long for `open` to show it."""
    passage_told_by: int | None = None
    """As `told_by`, for the passage."""


@dataclass(frozen=True)
class Told:
    """Where something that the answer needs is read."""

    visit: int
    text: str
    """As it stands there."""


@dataclass(frozen=True)
class Question:
    """A question and how it is answered, or why it cannot be."""

    kind: str
    text: str
    visits: tuple[Visit, ...]
    told: tuple[Told, ...] = ()
    answer: int | str | None = None
    """`None`: the library does not tell."""
    other_visits: tuple[Visit, ...] = ()
    """Another way: visits instead of the last one; what they tell is told by the last of them."""
    missing: tuple[Thing, ...] = ()
    """Things without a document."""
    silent: tuple[tuple[Thing, str], ...] = ()
    """Facts that no document tells."""


Chain: TypeAlias = tuple[Kind, tuple[str, ...]]
"""What a question starts from, and the facts that it follows, the one that is asked for last."""


@dataclass
class Drawing:
    """What questions are drawn from.

    Args:
        world: The things.
        split: Whose chains and wordings.
        rng: Source of every choice.
    """

    world: World
    split: Split
    rng: random.Random

    def say(self, text: Callable[[Split], Sequence[str]], **parts: str) -> str:
        return self.rng.choice(text(self.split)).format(**parts)

    def chain(self, hops: int) -> Chain:
        """A chain of the split, by kinds alone."""
        while True:
            start: Kind = self.rng.choices(list(_STARTS), list(_STARTS.values()))[0]
            facts: list[str] = []
            kind = start
            for _ in range(hops - 1):
                links = [name for name, text in FACTS[kind].items() if text.is_link and name not in facts]
                facts.append(self.rng.choice(links))
                kind = _target(FACTS[kind][facts[-1]])
            facts.append(self.rng.choice(list(FACTS[kind])))
            if split_of(f"{start}.{'.'.join(facts)}") == self.split:
                return start, tuple(facts)

    def introduce(self, thing: Thing) -> tuple[str, str]:
        """How a request speaks of a thing that it begins with, and what to search for."""
        described = DESCRIBED.get(thing.kind)
        if described is not None and self.rng.random() < _DESCRIBED:
            return self.say(described.of, about=thing.about), thing.topic
        return named(thing), thing.name


def split_of(signature: str) -> Split:
    """The split that a chain of facts belongs to: a fourth of them `test`, by a hash of their names."""
    digest = hashlib.blake2b(signature.encode(), digest_size=4).digest()
    return "test" if int.from_bytes(digest, "big") % 4 == 0 else "train"


def named(thing: Thing) -> str:
    """A thing by its name, as a request gives it."""
    if thing.kind == "book":
        return f'"{thing.name}"'
    return f"the {thing.name}" if thing.kind in ("festival", "prize") else thing.name


@dataclass
class Walk:
    """A chain followed in a world."""

    words: str
    """How the question speaks of the last thing."""
    things: list[Thing]
    visits: list[Visit]
    """Of all things but the last, whose visit depends on what is asked of it."""
    query: str
    """What the last thing is searched by."""

    def last_visit(self, keys: Sequence[str] = ()) -> Visit:
        told_by = len(self.visits) - 1 if self.visits else None
        return Visit(self.things[-1].name, self.query, told_by, tuple(keys))


def walk(d: Drawing, start: Thing, links: Sequence[str]) -> Walk:
    """Follow links from a thing, and find the words for where they lead.

    Raises:
        Infeasible: A link leads nowhere, or back.
    """
    words, query = d.introduce(start)
    found = Walk(words, [start], [], query)
    for link in links:
        follow(d, found, link)
    return found


def follow(d: Drawing, walked: Walk, link: str) -> None:
    """Take one link more; errors as `walk`."""
    here = walked.things[-1]
    text = FACTS[here.kind][link]
    visit, year = walked.last_visit(text.keys), ""
    target: Fact | None
    if link == "winner":
        year, target = a_winner(d, here)
        visit = replace(visit, keys=(), passage=year)
    else:
        target = here.facts.get(link)
    if not isinstance(target, Thing) or target in walked.things or text.phrase is None:
        raise Infeasible(f"{link} of {here} leads to {target}")
    walked.visits.append(visit)
    walked.things.append(target)
    walked.words = d.say(text.phrase.of, x=walked.words, year=year)
    walked.query = target.name


def a_winner(d: Drawing, prize: Thing, *, known: bool = True) -> tuple[str, Fact]:
    """A year whose winner `open` does not show, and the winner.

    Args:
        d: The drawing.
        prize: Whose.
        known: Whether the winner must have a document.

    Raises:
        Infeasible: There is none.
    """
    before = 3  # paragraphs before the first year
    years = list(prize.winners)[PAGE - before :]
    fitting = [year for year in years if isinstance(prize.winners[year][0], Thing) or not known]
    if not fitting:
        raise Infeasible(f"no such winner of {prize}")
    year = d.rng.choice(fitting)
    return str(year), prize.winners[year][0]


def chain_question(d: Drawing) -> Question:
    """What a chain of facts leads to."""
    hops, weights = HOPS[d.split]
    start, facts = d.chain(d.rng.choices(hops, weights)[0])
    walked = walk(d, d.rng.choice(d.world.things[start]), facts[:-1])
    return ask(d, walked, facts[-1])


def ask(d: Drawing, walked: Walk, fact: str) -> Question:
    """Ask for a fact of the thing that a walk has come to.

    Raises:
        Infeasible: It has no such fact, or the answer stands in the question.
    """
    thing = walked.things[-1]
    text = FACTS[thing.kind][fact]
    visit, year = walked.last_visit(text.keys), ""
    other: tuple[Visit, ...] = ()
    value: Fact | None = thing.facts.get(fact)
    if fact == "winner":
        year, value = a_winner(d, thing, known=False)
        visit = replace(visit, keys=(), passage=year)
    won = thing.won[0] if fact == "win" and thing.won else None
    prize = won.name if won else ""
    if value is None or value in walked.things or won in walked.things:
        raise Infeasible(f"{fact} of {thing} is {value}")
    if prize:
        # The list of winners tells it as well.
        other = (Visit(prize, prize, passage=walked.query, passage_told_by=visit.told_by),)
    answer = value.name if isinstance(value, Thing) else value
    shown = in_text(text, value) if not isinstance(value, Thing) else value.name
    return Question(
        kind=f"chain-{len(walked.things)}",
        text=_capital(d.say(text.ask.of, x=walked.words, year=year, prize=prize)),
        visits=(*walked.visits, visit),
        told=(Told(len(walked.visits), shown),),
        answer=answer,
        other_visits=other,
    )


def difference_question(d: Drawing) -> Question:
    """By how much two facts of the same kind differ."""
    kinds = [(kind, fact) for kind, facts in FACTS.items() for fact, text in facts.items() if text.between]
    kind, fact = d.rng.choice(kinds)
    ways = [(k, f) for k, facts in FACTS.items() for f, text in facts.items() if text.to == kind and f != "winner"]
    first, second = (d.rng.choice(ways) if ways and d.rng.random() < 0.6 else None for _ in range(2))
    if split_of(f"difference.{kind}.{fact}.{first}.{second}") != d.split:
        raise Infeasible("of the other split")
    one, two = _reach(d, kind, first), _reach(d, kind, second)
    things = [*one.things, *two.things]
    text = FACTS[kind][fact]
    values = [walked.things[-1].facts[fact] for walked in (one, two)]
    if len(set(things)) < len(things) or values[0] == values[1] or text.between is None:
        raise Infeasible("not two things that differ")
    visits = [*one.visits, one.last_visit(text.keys)]
    shift = len(visits)
    visits += [_shifted(visit, shift) for visit in (*two.visits, two.last_visit(text.keys))]
    numbers = [value for value in values if isinstance(value, int)]
    return Question(
        kind="difference",
        text=_capital(d.say(text.between.of, x=one.words, y=two.words)),
        visits=tuple(visits),
        told=(Told(shift - 1, in_text(text, values[0])), Told(len(visits) - 1, in_text(text, values[1]))),
        answer=abs(numbers[0] - numbers[1]),
    )


def _reach(d: Drawing, kind: Kind, way: tuple[Kind, str] | None) -> Walk:
    """A walk to a thing of that kind: from its own name, or by a link from another thing."""
    if way is None:
        return walk(d, d.rng.choice(d.world.things[kind]), ())
    return walk(d, d.rng.choice(d.world.things[way[0]]), way[1:])


def _shifted(visit: Visit, by: int) -> Visit:
    return visit if visit.told_by is None else replace(visit, told_by=visit.told_by + by)


def _target(text: FactText) -> Kind:
    assert text.is_link
    return text.to  # type: ignore[return-value]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
