"""What can be asked: questions whose answer is one value, each with its gold query and its words.

A question may be about something that an earlier one has found ("that product"), and may find something itself, so
questions make chains. Words stand once for each split. Every query means the same to SQLite and to PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tir_gym.env import Split

Kind: TypeAlias = Literal["group", "thing", "person", "place", "month"]
"""What a value names."""
AnswerType: TypeAlias = Literal["text", "number", "date"]


@dataclass(frozen=True)
class Question:
    """One thing that can be asked. Braces in its texts name what `Draft.fields` has."""

    key: str
    words: Mapping[Split, str]
    sql: str
    """Gives one row of one value. Where `score` is given: what is ranked by it, without order."""
    score: str = ""
    """What the value sought has most of; there must be no tie."""
    about: Kind | None = None
    """What `{it}` is."""
    finds: Kind | None = None
    """What the answer names, for questions to come."""
    type: AnswerType = "text"
    size: int = 1
    """How often it is drawn, against the others."""


def _words(train: str, test: str) -> Mapping[Split, str]:
    return {"train": train, "test": test}


_ALL = "FROM {e} e JOIN {t} t ON t.id = e.{t_id} JOIN {g} g ON g.id = t.{g_id} JOIN {p} p ON p.id = e.{p_id}"
_OF_PERSON = "FROM {e} e JOIN {p} p ON p.id = e.{p_id} WHERE p.name = {it}"
_OF_THING = "FROM {e} e JOIN {t} t ON t.id = e.{t_id} WHERE t.name = {it}"
_IN_GROUP = "FROM {e} e JOIN {t} t ON t.id = e.{t_id} JOIN {g} g ON g.id = t.{g_id} WHERE g.name = {it}"

QUESTIONS: tuple[Question, ...] = (
    # Look-ups.
    Question(
        "number-of-thing",
        _words("What is the {number_noun} of {it}?", "Tell me the {number_noun} of {it}."),
        "SELECT {number} FROM {t} WHERE name = {it}",
        about="thing",
        type="number",
    ),
    Question(
        "group-of-thing",
        _words("Which {group} does {it} belong to?", "Name the {group} of {it}."),
        "SELECT g.name FROM {t} t JOIN {g} g ON g.id = t.{g_id} WHERE t.name = {it}",
        about="thing",
        finds="group",
    ),
    Question(
        "place-of-person",
        _words("What is the {place_noun} of {it}?", "Tell me the {place_noun} of {it}."),
        "SELECT {place} FROM {p} WHERE name = {it}",
        about="person",
        finds="place",
    ),
    # Counts and sums.
    Question(
        "count-of-person",
        _words("How many {events} does {it} have?", "What is the number of {events} of {it}?"),
        "SELECT COUNT(*) " + _OF_PERSON,
        about="person",
        type="number",
    ),
    Question(
        "status-of-person",
        _words("How many {events} of {it} have the status '{status}'?", "Count the '{status}' {events} of {it}."),
        "SELECT COUNT(*) " + _OF_PERSON + " AND e.status = '{status}'",
        about="person",
        type="number",
    ),
    Question(
        "sum-of-person",
        _words(
            "What is the sum of the {amount_noun} over all {events} of {it}?",
            "Over all {events} of {it}, what does the {amount_noun} add up to?",
        ),
        "SELECT SUM(e.{amount}) " + _OF_PERSON,
        about="person",
        type="number",
    ),
    Question(
        "sum-of-thing",
        _words(
            "What is the sum of the {amount_noun} over all {events} of {it}?",
            "Over all {events} of {it}, what does the {amount_noun} add up to?",
        ),
        "SELECT SUM(e.{amount}) " + _OF_THING,
        about="thing",
        type="number",
    ),
    Question(
        "count-in-month",
        _words("How many {events} were there in {it}?", "Count the {events} of {it}."),
        "SELECT COUNT(*) FROM {e} WHERE substr({day}, 1, 7) = {it}",
        about="month",
        type="number",
    ),
    Question(
        "people-of-place",
        _words("How many {people} have {it} as their {place_noun}?", "Count the {people} whose {place_noun} is {it}."),
        "SELECT COUNT(*) FROM {p} WHERE {place} = {it}",
        about="place",
        type="number",
    ),
    Question(
        "sum-of-place",
        _words(
            "What is the sum of the {amount_noun} over all {events} of {people} whose {place_noun} is {it}?",
            "For {people} whose {place_noun} is {it}, what does the {amount_noun} of their {events} add up to?",
        ),
        "SELECT SUM(e.{amount}) FROM {e} e JOIN {p} p ON p.id = e.{p_id} WHERE p.{place} = {it}",
        about="place",
        type="number",
    ),
    Question(
        "people-of-group",
        _words(
            "How many different {people} have {events} of {things} of {it}?",
            "{things_title} of {it}: how many different {people} have {events} of them?",
        ),
        "SELECT COUNT(DISTINCT e.{p_id}) " + _IN_GROUP,
        about="group",
        type="number",
    ),
    Question(
        "more-than",
        _words("How many {people} have more than {few} {events}?", "Count the {people} with more than {few} {events}."),
        "SELECT COUNT(*) FROM (SELECT {p_id} FROM {e} GROUP BY {p_id} HAVING COUNT(*) > {few}) frequent",
        type="number",
    ),
    Question(
        "without",
        _words("How many {people} have no {events} at all?", "Count the {people} without any {events}."),
        "SELECT COUNT(*) FROM {p} p WHERE NOT EXISTS (SELECT 1 FROM {e} e WHERE e.{p_id} = p.id)",
        type="number",
    ),
    Question(
        "above-average",
        _words(
            "How many {things} of {it} have a {number_noun} above the average of all {things}?",
            "Of the {things} of {it}, how many exceed the average {number_noun} of all {things}?",
        ),
        "SELECT COUNT(*) FROM {t} t JOIN {g} g ON g.id = t.{g_id} WHERE g.name = {it} "
        "AND t.{number} > (SELECT AVG({number}) FROM {t})",
        about="group",
        type="number",
    ),
    # The first of a ranking.
    Question(
        "top-group",
        _words("Which {group} has the most {events}?", "Name the {group} with the largest number of {events}."),
        "SELECT g.name " + _ALL + " GROUP BY g.name",
        score="COUNT(*)",
        finds="group",
        size=3,
    ),
    Question(
        "top-place",
        _words("Which {place_noun} do most {people} have?", "What is the most frequent {place_noun} of {people}?"),
        "SELECT {place} FROM {p} GROUP BY {place}",
        score="COUNT(*)",
        finds="place",
        size=2,
    ),
    Question(
        "top-month",
        _words(
            "Which month (YYYY-MM) had the most {events}?",
            "Name the month (YYYY-MM) with the largest number of {events}.",
        ),
        "SELECT substr({day}, 1, 7) FROM {e} GROUP BY substr({day}, 1, 7)",
        score="COUNT(*)",
        finds="month",
        size=2,
    ),
    Question(
        "top-thing-of-group",
        _words(
            "Which {thing} of {it} has the largest sum of the {amount_noun} over its {events}?",
            "Among the {things} of {it}, whose {events} have the largest {amount_noun} in all?",
        ),
        "SELECT t.name " + _IN_GROUP + " GROUP BY t.name",
        score="SUM(e.{amount})",
        about="group",
        finds="thing",
        size=2,
    ),
    Question(
        "top-person-of-thing",
        _words(
            "Which {person} has the largest sum of the {amount_noun} over {events} of {it}?",
            "Over {events} of {it}, which {person} has the largest {amount_noun} in all?",
        ),
        "SELECT p.name FROM {e} e JOIN {t} t ON t.id = e.{t_id} JOIN {p} p ON p.id = e.{p_id} WHERE t.name = {it} "
        "GROUP BY p.name",
        score="SUM(e.{amount})",
        about="thing",
        finds="person",
        size=2,
    ),
    Question(
        "top-person-of-group",
        _words(
            "Which {person} has the most {events} of {things} of {it}?",
            "Name the {person} with the largest number of {events} of {things} of {it}.",
        ),
        "SELECT p.name " + _ALL + " WHERE g.name = {it} GROUP BY p.name",
        score="COUNT(*)",
        about="group",
        finds="person",
        size=2,
    ),
    Question(
        "top-person-of-place",
        _words(
            "Which {person} whose {place_noun} is {it} has the most {events}?",
            "Of the {people} whose {place_noun} is {it}, who has the largest number of {events}?",
        ),
        "SELECT p.name FROM {e} e JOIN {p} p ON p.id = e.{p_id} WHERE p.{place} = {it} GROUP BY p.name",
        score="COUNT(*)",
        about="place",
        finds="person",
    ),
    Question(
        "top-thing-in-month",
        _words("Which {thing} had the most {events} in {it}?", "In {it}, which {thing} had the most {events}?"),
        "SELECT t.name FROM {e} e JOIN {t} t ON t.id = e.{t_id} WHERE substr(e.{day}, 1, 7) = {it} GROUP BY t.name",
        score="COUNT(*)",
        about="month",
        finds="thing",
    ),
    # Averages, dates and windows.
    Question(
        "average-of-group",
        _words(
            "What is the average {number_noun} of the {things} of {it}, rounded to two decimals?",
            "Rounded to two decimals, what is the average {number_noun} of the {things} of {it}?",
        ),
        "SELECT ROUND(AVG(t.{number}), 2) FROM {t} t JOIN {g} g ON g.id = t.{g_id} WHERE g.name = {it}",
        about="group",
        type="number",
    ),
    Question(
        "last-day-of-person",
        _words(
            "On which day was the latest of the {events} of {it}?", "When was the most recent of the {events} of {it}?"
        ),
        "SELECT MAX(e.{day}) " + _OF_PERSON,
        about="person",
        type="date",
    ),
    Question(
        "second-of-group",
        _words(
            "Which {thing} of {it} has the second highest {number_noun}?",
            "By {number_noun}, which {thing} comes second among those of {it}?",
        ),
        "SELECT name FROM (SELECT t.name, DENSE_RANK() OVER (ORDER BY t.{number} DESC) AS place FROM {t} t "
        "JOIN {g} g ON g.id = t.{g_id} WHERE g.name = {it}) ranked WHERE place = 2",
        about="group",
        finds="thing",
        size=2,
    ),
    Question(
        "running-total-of-thing",
        _words(
            "On which day did the running sum of the {amount_noun} over the {events} of {it}, taken by day and then by "
            "id, first reach {much}?",
            "Add up the {amount_noun} over the {events} of {it} by day and then by id: on which day is {much} reached "
            "first?",
        ),
        "SELECT MIN({day}) FROM (SELECT e.{day}, SUM(e.{amount}) OVER (ORDER BY e.{day}, e.id) AS total "
        + _OF_THING
        + ") so_far WHERE total >= {much}",
        about="thing",
        type="date",
        size=2,
    ),
    Question(
        "steepest-month",
        _words(
            "In which month (YYYY-MM) did the number of {events} rise most against the month before?",
            "Which month (YYYY-MM) saw the largest rise of the number of {events} from the month before it?",
        ),
        "SELECT month FROM (SELECT month, n - LAG(n) OVER (ORDER BY month) AS rise FROM (SELECT substr({day}, 1, 7) AS "
        "month, COUNT(*) AS n FROM {e} GROUP BY substr({day}, 1, 7)) months) rises WHERE rise IS NOT NULL",
        score="rise",
        finds="month",
        size=2,
    ),
    Question(
        "rising-days-of-thing",
        _words(
            "How many days of {events} of {it} had a larger {amount_noun} in all than the day of {events} before?",
            "Over the days with {events} of {it}, how often was the {amount_noun} in all above the day before?",
        ),
        "WITH days AS (SELECT e.{day} AS day, SUM(e.{amount}) AS total "
        + _OF_THING
        + " GROUP BY e.{day}), steps AS (SELECT total - LAG(total) OVER (ORDER BY day) AS step FROM days) "
        "SELECT COUNT(*) FROM steps WHERE step > 0",
        about="thing",
        type="number",
    ),
)
