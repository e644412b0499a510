"""The schemas of the generated databases, in a form that questions of all kinds can be asked about.

Each is a star: `people` have `events` with `things`, and things belong to `groups`. What these are, what they are
called and which columns they have is each schema's own. Train and test have no schema in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tir_gym.env import Split


@dataclass(frozen=True)
class Noun:
    """A table and what one and many of its rows are called."""

    table: str
    one: str
    many: str


@dataclass(frozen=True)
class Measure:
    """A column of whole numbers and what it is called."""

    column: str
    noun: str
    typical: int
    """Median of its values."""


@dataclass(frozen=True)
class Schema:
    """What a database is about."""

    name: str
    groups: Noun
    things: Noun
    people: Noun
    events: Noun
    group_id: str
    """Column of things."""
    person_id: str
    thing_id: str
    """Columns of events."""
    number: Measure
    """Of things."""
    amount: Measure
    """Of events."""
    place: str
    since: str
    """Columns of people: where they live, since when they are known."""
    day: str
    """Column of events."""
    statuses: tuple[str, ...]
    """Of events, the most frequent one first."""
    group_names: tuple[str, ...]
    thing_heads: tuple[str, ...]
    thing_tails: tuple[str, ...]
    """A thing is called by one of each."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables, in the order of their definitions."""
        return tuple(noun.table for noun in (self.groups, self.things, self.people, self.events))

    def ddl(self) -> str:
        """The tables, in SQL that SQLite and PostgreSQL read alike."""
        return f"""\
CREATE TABLE {self.groups.table} (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE {self.things.table} (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    {self.group_id} INTEGER NOT NULL REFERENCES {self.groups.table} (id),
    {self.number.column} INTEGER NOT NULL
);
CREATE TABLE {self.people.table} (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    {self.place} TEXT NOT NULL,
    {self.since} TEXT NOT NULL
);
CREATE TABLE {self.events.table} (
    id INTEGER PRIMARY KEY,
    {self.person_id} INTEGER NOT NULL REFERENCES {self.people.table} (id),
    {self.thing_id} INTEGER NOT NULL REFERENCES {self.things.table} (id),
    {self.day} TEXT NOT NULL,
    {self.amount.column} INTEGER NOT NULL,
    status TEXT NOT NULL
);
"""

    def indexes(self) -> str:
        """What makes large databases quick; no part of what an agent is told."""
        return f"""\
CREATE INDEX {self.events.table}_by_person ON {self.events.table} ({self.person_id});
CREATE INDEX {self.events.table}_by_thing ON {self.events.table} ({self.thing_id});
CREATE INDEX {self.things.table}_by_group ON {self.things.table} ({self.group_id});
"""


SHOP = Schema(
    name="shop",
    groups=Noun("categories", "category", "categories"),
    things=Noun("products", "product", "products"),
    people=Noun("customers", "customer", "customers"),
    events=Noun("orders", "order", "orders"),
    group_id="category_id",
    person_id="customer_id",
    thing_id="product_id",
    number=Measure("price", "price in cents", 2400),
    amount=Measure("quantity", "quantity", 3),
    place="city",
    since="customer_since",
    day="ordered_on",
    statuses=("delivered", "shipped", "open", "cancelled"),
    group_names=("Garden", "Kitchen", "Toys", "Lighting", "Sports", "Office", "Travel", "Music", "Pets", "Tools"),
    thing_heads=("Copper", "Oak", "Silent", "Folding", "Nordic", "Bright", "Pocket", "Classic", "Velvet", "Rapid"),
    thing_tails=("Lamp", "Kettle", "Rake", "Puzzle", "Tent", "Chair", "Drill", "Leash", "Flute", "Stapler", "Bottle"),
)

LIBRARY = Schema(
    name="library",
    groups=Noun("genres", "genre", "genres"),
    things=Noun("books", "book", "books"),
    people=Noun("members", "member", "members"),
    events=Noun("loans", "loan", "loans"),
    group_id="genre_id",
    person_id="member_id",
    thing_id="book_id",
    number=Measure("pages", "number of pages", 290),
    amount=Measure("days", "number of days", 14),
    place="town",
    since="joined_on",
    day="lent_on",
    statuses=("returned", "out", "overdue", "lost"),
    group_names=("Mystery", "History", "Poetry", "Science", "Fantasy", "Biography", "Drama", "Cooking", "Nature"),
    thing_heads=("Winter", "Hidden", "Last", "Burning", "Seventh", "Hollow", "Distant", "Paper", "Salt", "Amber"),
    thing_tails=("Harbour", "Orchard", "Letter", "Mirror", "Garden", "River", "Compass", "Station", "Crown", "Island"),
)

HOSPITAL = Schema(
    name="hospital",
    groups=Noun("wards", "ward", "wards"),
    things=Noun("treatments", "treatment", "treatments"),
    people=Noun("patients", "patient", "patients"),
    events=Noun("visits", "visit", "visits"),
    group_id="ward_id",
    person_id="patient_id",
    thing_id="treatment_id",
    number=Measure("fee", "fee in euros", 180),
    amount=Measure("minutes", "number of minutes", 35),
    place="district",
    since="registered_on",
    day="visited_on",
    statuses=("done", "planned", "missed", "moved"),
    group_names=(
        "Cardiology",
        "Surgery",
        "Neurology",
        "Oncology",
        "Radiology",
        "Dermatology",
        "Urology",
        "Paediatrics",
    ),
    thing_heads=("Basic", "Extended", "Acute", "Gentle", "Guided", "Repeated", "Combined", "Early", "Assisted"),
    thing_tails=("Scan", "Therapy", "Massage", "Infusion", "Screening", "Consultation", "Exercise", "Biopsy", "Test"),
)

AIRLINE = Schema(
    name="airline",
    groups=Noun("carriers", "carrier", "carriers"),
    things=Noun("flights", "flight", "flights"),
    people=Noun("passengers", "passenger", "passengers"),
    events=Noun("bookings", "booking", "bookings"),
    group_id="carrier_id",
    person_id="passenger_id",
    thing_id="flight_id",
    number=Measure("distance", "distance in kilometres", 1400),
    amount=Measure("seats", "number of seats", 2),
    place="home_airport",
    since="enlisted_on",
    day="booked_on",
    statuses=("flown", "paid", "reserved", "refunded"),
    group_names=("Skylark", "Meridian", "Albatross", "Bluewing", "Corona", "Fjordair", "Sunjet", "Zephyr"),
    thing_heads=("Lisbon", "Oslo", "Vienna", "Dublin", "Athens", "Prague", "Riga", "Geneva", "Porto", "Malmo"),
    thing_tails=("Morning", "Noon", "Evening", "Night", "Express", "Shuttle", "Weekend", "Direct", "Saver", "Dawn"),
)

SCHOOL = Schema(
    name="school",
    groups=Noun("departments", "department", "departments"),
    things=Noun("courses", "course", "courses"),
    people=Noun("students", "student", "students"),
    events=Noun("enrolments", "enrolment", "enrolments"),
    group_id="department_id",
    person_id="student_id",
    thing_id="course_id",
    number=Measure("capacity", "capacity", 60),
    amount=Measure("points", "number of points", 55),
    place="region",
    since="admitted_on",
    day="enrolled_on",
    statuses=("passed", "active", "failed", "withdrawn"),
    group_names=("Physics", "Law", "Economics", "Linguistics", "Geology", "Statistics", "Philosophy", "Design"),
    thing_heads=("Applied", "Modern", "Advanced", "Comparative", "Practical", "Theoretical", "General", "Special"),
    thing_tails=("Methods", "Systems", "Markets", "Languages", "Ethics", "Fields", "Models", "Contracts", "Forms"),
)

SCHEMAS: Mapping[str, Schema] = {schema.name: schema for schema in (SHOP, LIBRARY, HOSPITAL, AIRLINE, SCHOOL)}
BY_SPLIT: Mapping[Split, tuple[Schema, ...]] = {"train": (SHOP, LIBRARY, HOSPITAL), "test": (AIRLINE, SCHOOL)}
