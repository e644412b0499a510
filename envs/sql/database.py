"""The generated databases: skewed as real ones are, the same for the same name, of 10^2 to 10^6 rows."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

from tir_gym.envs.sql.schemas import SCHEMAS, Schema
from tir_gym.sandboxes.sql import Image, make_image

NOW = "2025-01-06 09:00:00"
FEWEST, MOST = 100, 1_000_000
"""Rows of a database."""

FIRST_DAY = date(2023, 1, 1)
DAYS = 730

PLACES = (
    "Arlington", "Brookfield", "Clearwater", "Dunmore", "Eastham", "Fairview", "Glenwood", "Hartley", "Ironbridge",
    "Kingsford", "Larkspur", "Milton", "Northgate", "Oakdale", "Pinehurst", "Riverton",
)  # fmt: skip
FIRST_NAMES = (
    "Ada", "Amir", "Anna", "Boris", "Carla", "Chen", "Dana", "Elif", "Emil", "Fatima", "Felix", "Grace", "Hugo", "Ines",
    "Ivan", "Jana", "Jonas", "Kofi", "Lena", "Leo", "Mara", "Marco", "Mina", "Nadia", "Nils", "Olga", "Omar", "Paula",
    "Pedro", "Rosa", "Samir", "Sofia", "Tara", "Theo", "Uma", "Viktor", "Wanda", "Yusuf", "Zoe",
)  # fmt: skip
LAST_NAMES = (
    "Abbott", "Berg", "Costa", "Diaz", "Ekman", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kaya", "Lopez",
    "Moreau", "Novak", "Okafor", "Petrov", "Quist", "Rossi", "Schmidt", "Tanaka", "Ueda", "Vargas", "Weber", "Xu",
    "Yilmaz", "Zhang", "Adler", "Bauer", "Clarke", "Dubois", "Eriksen", "Farkas", "Gupta", "Horvat", "Ivanov",
)  # fmt: skip
LETTERS = "ABCDEFGHIJKLMNOPRSTUVWZ"


@dataclass(frozen=True)
class Name:
    """Says which database it is."""

    schema: str
    seed: str
    rows: int
    """About how many rows in all."""
    variant: int = 0
    """Databases that differ in this alone hold the same names, and other facts about them."""

    def __str__(self) -> str:
        return f"{self.schema} {self.seed} {self.rows}"


@lru_cache(maxsize=8)
def make_database(name: Name) -> Image:
    """The database of that name."""
    schema = SCHEMAS[name.schema]
    names = random.Random(f"sql/{name}")
    facts = random.Random(f"sql/{name}/{name.variant}")
    people = max(8, name.rows * 12 // 100)
    things = max(12, name.rows * 6 // 100)
    groups = min(len(schema.group_names), max(4, things // 4))
    events = name.rows - people - things - groups
    group_names = names.sample(schema.group_names, groups)
    rows = {
        schema.groups.table: list(enumerate(group_names, 1)),
        schema.things.table: _things(schema, _thing_names(schema, names, things), groups, facts),
        schema.people.table: _people(_people_names(names, people), facts),
        schema.events.table: _events(schema, people, things, events, facts),
    }
    return make_image({"schema": schema.ddl() + schema.indexes(), "rows": rows}, NOW)


def _thing_names(schema: Schema, rng: random.Random, count: int) -> list[str]:
    names = [f"{head} {tail}" for head, tail in itertools.product(schema.thing_heads, schema.thing_tails)]
    rng.shuffle(names)
    rounds = range(2, 3 + count // len(names))
    return [*names, *(f"{name} {number}" for number in rounds for name in names)][:count]


def _people_names(rng: random.Random, count: int) -> list[str]:
    pairs = list(itertools.product(FIRST_NAMES, LAST_NAMES))
    rng.shuffle(pairs)
    plain = [f"{first} {last}" for first, last in pairs]
    if count <= len(plain):
        return plain[:count]
    middles = [f"{a}{b}" for a in ("", *LETTERS) for b in LETTERS]
    return [*plain, *(f"{first} {middle}. {last}" for middle in middles for first, last in pairs)][:count]


def _things(schema: Schema, names: Sequence[str], groups: int, rng: random.Random) -> list[tuple[int, str, int, int]]:
    weights = _skewed(groups, rng, 0.5)
    members = [*range(1, groups + 1), *rng.choices(range(1, groups + 1), weights, k=len(names) - groups)]
    rng.shuffle(members)
    return [
        (id, name, group, 1 + int(schema.number.typical * math.exp(rng.gauss(0, 0.5))))
        for id, (name, group) in enumerate(zip(names, members, strict=True), 1)
    ]


def _people(names: Sequence[str], rng: random.Random) -> list[tuple[int, str, str, str]]:
    places = rng.choices(PLACES, _skewed(len(PLACES), rng, 0.8), k=len(names))
    days = rng.choices(_days(FIRST_DAY - timedelta(days=2000), 2000), k=len(names))
    return [(id, *facts) for id, facts in enumerate(zip(names, places, days, strict=True), 1)]


def _events(
    schema: Schema, people: int, things: int, count: int, rng: random.Random
) -> list[tuple[int, int, int, str, int, str]]:
    days = _days(FIRST_DAY, DAYS)
    seasons = [1.0 + 0.5 * math.sin(2 * math.pi * day / 365) + 0.8 * day / DAYS for day in range(DAYS)]
    who = rng.choices(range(1, people + 1), _skewed(people, rng, 0.9), k=count)
    what = rng.choices(range(1, things + 1), _skewed(things, rng, 0.7), k=count)
    when = sorted(rng.choices(days, seasons, k=count))
    status = rng.choices(schema.statuses, (70, 15, 10, 5)[: len(schema.statuses)], k=count)
    much = [1 + int(rng.expovariate(1 / schema.amount.typical)) for _ in range(count)]
    return list(zip(range(1, count + 1), who, what, when, much, status, strict=True))


def _skewed(count: int, rng: random.Random, power: float) -> list[float]:
    """Weights that fall with a power of the rank, the ranks being given out at random."""
    weights = [(rank + 1) ** -power for rank in range(count)]
    rng.shuffle(weights)
    return weights


@lru_cache(maxsize=4)
def _days(first: date, count: int) -> list[str]:
    return [(first + timedelta(days=day)).isoformat() for day in range(count)]
