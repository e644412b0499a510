"""What is written about the things of a world: a readable document each, of some paragraphs.

A document tells every fact of its thing in a sentence, names people and places that nothing is asked about, and says
nothing else about other things. So each fact is told in one place, but for prizes won, which both sides tell.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field

from tir_gym.env import Split
from tir_gym.envs.search.texts import FACTS, FILLER, LEAD, FactText
from tir_gym.envs.search.world import Fact, Thing, World


@dataclass(frozen=True)
class Document:
    """What is written about a thing."""

    title: str
    paragraphs: tuple[str, ...]
    names: tuple[str, ...]
    """Names that occur in it, the title aside."""

    def record(self) -> dict[str, object]:
        """As a library keeps it."""
        return {"title": self.title, "paragraphs": list(self.paragraphs), "names": list(self.names)}


def write(thing: Thing, split: Split, world: World, rng: random.Random, silent: Collection[str] = ()) -> Document:
    """The document about a thing.

    Args:
        thing: What it is about.
        split: Whose sentences are used.
        world: Where the thing is from.
        rng: Source of every choice.
        silent: Facts that it does not tell.
    """
    return _Writer(thing, split, world, rng).write(silent)


@dataclass
class _Writer:
    thing: Thing
    split: Split
    world: World
    rng: random.Random
    names: dict[str, None] = field(default_factory=dict)

    def write(self, silent: Collection[str]) -> Document:
        thing, rng = self.thing, self.rng
        lead = rng.choice(LEAD[thing.kind].of(self.split)).format(name=_in_text(thing), about=thing.about)
        told = [fact for fact in thing.facts if fact not in silent]
        rng.shuffle(told)
        fillers = rng.sample(FILLER[thing.kind].of(self.split), 3)
        paragraphs = [f"{lead} {self._filler(fillers[0])}"]
        middle = (len(told) + 1) // 2
        for facts, filler in ((told[:middle], fillers[1]), (told[middle:], fillers[2])):
            sentences = [*(self._fact(fact) for fact in facts), self._filler(filler)]
            paragraphs.append(" ".join(sentences))
        paragraphs += map(self._award, thing.winners)
        return Document(thing.name, tuple(map(_capital, paragraphs)), tuple(self.names))

    def _fact(self, name: str) -> str:
        text, value = FACTS[self.thing.kind][name], self.thing.facts[name]
        prize = self.thing.won[0].name if name == "win" and self.thing.won else ""
        if prize:
            self.names[prize] = None
        elif isinstance(value, (Thing, str)):
            self.names[value if isinstance(value, str) else value.name] = None
        sentence = self.rng.choice(text.say.of(self.split))
        return _capital(sentence.format(it=self._it(), value=in_text(text, value), prize=prize))

    def _filler(self, sentence: str) -> str:
        if "{person}" not in sentence:
            return _capital(sentence.format(it=self._it()))
        person = self.world.somebody()
        self.names[person] = None
        return _capital(sentence.format(it=self._it(), person=person))

    def _award(self, year: int) -> str:
        winner, deed = self.thing.winners[year]
        name = winner if isinstance(winner, str) else winner.name
        self.names[name] = None
        return self.rng.choice(FACTS["prize"]["winner"].say.of(self.split)).format(year=year, value=name, deed=deed)

    def _it(self) -> str:
        """How a document speaks of its thing after the first sentence."""
        thing = self.thing
        return thing.name.split()[-1] if thing.kind == "person" else f"the {_NOUNS.get(thing.kind, thing.kind)}"


_NOUNS = {"book": "novel"}


def in_text(text: FactText, value: Fact) -> str:
    """A fact as documents write it: names as they are, counts with commas."""
    if isinstance(value, Thing):
        return _in_text(value)
    return f"{value:,}" if text.to == "count" else str(value)


def _in_text(thing: Thing) -> str:
    return f'"{thing.name}"' if thing.kind == "book" else thing.name


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
