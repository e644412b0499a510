"""A seeded world for a library: people, towns, companies, novels, schools, festivals and prizes, linked by facts.

Names repeat their parts (Tarnwell Works, Tarnwell Mill, Tarnwell Academy; several Linders), so that the right one must
be told from the ones that are nearly named alike. Whole names are unique, and so is what a thing is described by.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from tir_gym.env import Split
from tir_gym.envs.search.texts import Kind
from tir_gym.envs.search.vocabulary import VOCABULARY

_COUNTS: dict[Kind, int] = {
    "person": 22,
    "town": 8,
    "company": 11,
    "book": 10,
    "school": 7,
    "festival": 5,
    "prize": 3,
}
_PRIZE_YEARS = 14


@dataclass(eq=False)
class Thing:
    """Something that has a document."""

    kind: Kind
    name: str
    about: str
    """What its document begins with: a profession, goods, a subject, ..."""
    topic: str
    """The words of it by which it is found."""
    facts: dict[str, Fact] = field(default_factory=dict)
    winners: dict[int, tuple[Thing | str, str]] = field(default_factory=dict)
    """Of a prize: who won it in a year, and for what. Some winners have no document."""
    won: tuple[Thing, int] | None = None
    """Of a person: a prize and the year."""

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


Fact: TypeAlias = Thing | int | str


class World:
    """All things of a world.

    Args:
        split: Whose vocabulary they are made of.
        rng: Source of every choice.
    """

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.rng = rng
        self.words = VOCABULARY[split]
        self._names: set[str] = set()
        self._last_names = [self._join(self.words.last_stems, self.words.last_endings) for _ in range(9)]
        self._first_names = rng.sample(self.words.first_names, 14)
        self._stems = [self._join(self.words.stems, self.words.endings) for _ in range(8)]
        self._towns = [self._join(self.words.town_stems, self.words.town_endings) for _ in range(40)]
        self._title_words = rng.sample(self.words.title_words, 6)
        self._title_things = rng.sample(self.words.title_things, 6)
        self.things: dict[Kind, list[Thing]] = {}
        for kind, count in _COUNTS.items():
            abouts = self._abouts(kind)
            self.things[kind] = [Thing(kind, self.new_name(kind), *next(abouts)) for _ in range(count)]
        self._link()

    def all(self) -> list[Thing]:
        """Every thing, by kind."""
        return [thing for things in self.things.values() for thing in things]

    def new_name(self, kind: Kind) -> str:
        """A name that nothing has yet, made of the same parts as others."""
        while True:
            name = self._NAMERS[kind](self)
            if name not in self._names:
                self._names.add(name)
                return name

    def somebody(self) -> str:
        """The name of a person without a document."""
        while True:
            last = self._join(self.words.last_stems, self.words.last_endings)
            name = f"{self.rng.choice(self.words.first_names)} {last}"
            if name not in self._names:
                return name

    def _person(self) -> str:
        return f"{self.rng.choice(self._first_names)} {self.rng.choice(self._last_names)}"

    def _town(self) -> str:
        # One word each: a name must not stand inside another one.
        return self.rng.choice(self._towns)

    def _company(self) -> str:
        return f"{self.rng.choice(self._stems)} {self.rng.choice(self.words.company_kinds)}"

    def _book(self) -> str:
        thing = f"{self.rng.choice(self._title_words)} {self.rng.choice(self._title_things)}"
        return f"The {thing} of {self.rng.choice(self._stems)}"

    def _school(self) -> str:
        return f"{self.rng.choice(self._stems)} {self.rng.choice(self.words.school_kinds)}"

    def _festival(self) -> str:
        return f"{self.rng.choice(self._stems)} {self.rng.choice(self.words.festival_kinds)}"

    def _prize(self) -> str:
        donor = self.rng.choice(self._last_names)
        return f"{self.rng.choice(self._stems)} {donor} {self.rng.choice(self.words.prize_kinds)}"

    _NAMERS: dict[Kind, Callable[[World], str]] = {  # noqa: RUF012  a table of methods
        "person": _person,
        "town": _town,
        "company": _company,
        "book": _book,
        "school": _school,
        "festival": _festival,
        "prize": _prize,
    }

    def _join(self, stems: tuple[str, ...], endings: tuple[str, ...]) -> str:
        return self.rng.choice(stems) + self.rng.choice(endings)

    def _abouts(self, kind: Kind) -> Iterator[tuple[str, str]]:
        """What things of a kind are about, in full and in the words that no other thing of the kind has.

        The full ones are so many that requests which describe a thing are hardly ever alike.
        """
        rng, words, count = self.rng, self.words, _COUNTS[kind]
        if kind in ("person", "town"):
            pool = words.professions if kind == "person" else words.counties
            return iter([(about, about) for about in rng.choices(pool, k=count)])
        if kind == "prize":
            return iter([(field, field) for field in rng.sample(words.fields, count)])
        if kind == "book":
            subjects = rng.sample(words.subjects, count)
            return iter([(f"{subject}, set in {self._winter()}", subject) for subject in subjects])
        if kind == "company":
            goods = [f"{rng.choice(words.qualities)} {good}" for good in rng.sample(words.goods, count)]
            return iter([(f"{good} and {rng.choice(words.wares)}", good) for good in goods])
        topics = rng.sample(words.lessons if kind == "school" else words.themes, count)
        return iter(
            [(f"{topic} for {rng.choice(words.qualities)} {rng.choice(words.crowds)}", topic) for topic in topics]
        )

    def _winter(self) -> str:
        return f"the {self.rng.choice(self.words.seasons)} of {self.rng.randrange(1790, 1870)}"

    def _link(self) -> None:
        """Give every thing its facts. Years fit together: nobody founds anything before growing up."""
        rng = self.rng
        for person in self.things["person"]:
            person.facts["born"] = rng.randrange(1870, 1931)
        for town in self.things["town"]:
            town.facts["river"] = rng.choice(self.words.rivers)
            town.facts["population"] = rng.randrange(1_200, 90_000)
            town.facts["charter"] = rng.randrange(1180, 1600)
            town.facts["statue"] = self._any("person")
            town.facts["twin"] = self._other(town)
            town.facts["waterworks"] = self._any("company")
        for school in self.things["school"]:
            school.facts["opened"] = rng.randrange(1700, 1861)
            school.facts["town"] = self._any("town")
            school.facts["library"] = self._any("person")
            school.facts["pupils"] = rng.randrange(60, 1_000)
        for company in self.things["company"]:
            founder = self._any("person")
            company.facts["founded"] = self._year_of(founder)
            company.facts["founder"] = founder
            company.facts["seat"] = self._any("town")
            company.facts["staff"] = rng.randrange(25, 4_000)
            company.facts["supplier"] = self._other(company)
        for book in self.things["book"]:
            author = self._any("person")
            book.facts["published"] = self._year_of(author)
            book.facts["author"] = author
            book.facts["publisher"] = self._any("company")
            book.facts["setting"] = self._any("town")
            book.facts["pages"] = rng.randrange(110, 900)
        for festival in self.things["festival"]:
            organiser = self._any("person")
            festival.facts["since"] = self._year_of(organiser)
            festival.facts["town"] = self._any("town")
            festival.facts["organiser"] = organiser
            festival.facts["visitors"] = rng.randrange(400, 60_000)
        for person in self.things["person"]:
            person.facts["birthplace"] = self._any("town")
            person.facts["school"] = self._any("school")
            older = [other for other in self.things["person"] if _born(other) <= _born(person) - 12]
            if older:
                person.facts["mentor"] = rng.choice(older)
            person.facts["home"] = rng.choice([t for t in self.things["town"] if t is not person.facts["birthplace"]])
        for prize in self.things["prize"]:
            prize.facts["town"] = self._any("town")
            self._award(prize)

    def _award(self, prize: Thing) -> None:
        first = self.rng.randrange(1935, 1950)
        for year in range(first, first + _PRIZE_YEARS):
            ripe = [p for p in self.things["person"] if p.won is None and _born(p) + 25 <= year <= _born(p) + 75]
            winner: Thing | str = self.rng.choice(ripe) if ripe and self.rng.random() < 0.4 else self.somebody()
            if isinstance(winner, Thing):
                winner.won = (prize, year)
                winner.facts["win"] = year
            prize.winners[year] = (winner, self.rng.choice(self.words.deeds))

    def _any(self, kind: Kind) -> Thing:
        return self.rng.choice(self.things[kind])

    def _other(self, thing: Thing) -> Thing:
        return self.rng.choice([other for other in self.things[thing.kind] if other is not thing])

    def _year_of(self, person: Thing) -> int:
        """A year in which somebody may have made something."""
        return _born(person) + self.rng.randrange(21, 60)


def _born(person: Thing) -> int:
    born = person.facts["born"]
    assert isinstance(born, int)
    return born
