"""A task while it is made: what has been asked so far, what is known, and the gold calls for it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.sql.changes import Change
from tir_gym.envs.sql.database import DAYS, FIRST_DAY, FIRST_NAMES, LAST_NAMES, PLACES, Name, make_database
from tir_gym.envs.sql.questions import AnswerType, Kind, Question
from tir_gym.envs.sql.same_sql import stamped
from tir_gym.envs.sql.schemas import SCHEMAS
from tir_gym.envs.writing.draft import Infeasible
from tir_gym.records import GoldCall

_SHOWN = 2
"""Rows of each table that an agent is shown."""


@dataclass(frozen=True)
class Known:
    """Something that a question can be about."""

    kind: Kind
    value: str
    call: int | None
    """Gold call that found it; `None` where the request names it."""
    sql: str = ""
    """The query that finds it."""


class Draft:
    """What a task consists of, growing.

    Args:
        name: The database.
        split: Whose words to use.
        rng: Where all choices come from.
    """

    def __init__(self, name: Name, split: Split, rng: random.Random) -> None:
        self.name, self.split, self.rng = name, split, rng
        self.schema = SCHEMAS[name.schema]
        self.database = make_database(name).connect()
        self.tables = self._tables()
        """The tables as an agent is told of them: their definitions, and what rows look like."""
        self.sentences: list[str] = []
        self.calls: list[GoldCall] = []
        self.after: list[tuple[int, int]] = []
        self.answers: list[tuple[Any, AnswerType, int]] = []
        """Value, type, and the gold call that gives it."""
        self.focus: Known | None = None
        """What was found last."""
        self.used: set[str] = set()
        """Keys of questions and changes, and tables that were written to."""
        self.keys: list[str] = []
        self._wrote: int | None = None

    def ask(self, question: Question) -> None:
        """Add a question.

        Raises:
            Infeasible: It has no good answer.
        """
        it, fields = self._about(question.about), self.fields()
        sql = _filled(question.sql, fields, it)
        if question.score:
            sql = self._ranked(sql, _filled(question.score, fields, it))
        value = self._single(sql)
        if question.key == "average-of-group":
            self._no_tie(_filled(question.sql, fields, it), value)
        others = self._nested(question.sql, question.score, fields, it)
        number = self._add("query", sql, others, it)
        self._say(question.words[self.split], fields, it)
        self.answers.append((value, question.type, number))
        self.used.add(question.key)
        self.keys.append(question.key)
        if question.finds is not None:
            self.focus = Known(question.finds, str(value), number, sql)

    def change(self, change: Change) -> None:
        """Add a change; reads come before.

        Raises:
            Infeasible: It would change nothing.
        """
        it, fields = self._about(change.about), self.fields()
        sql = _filled(change.sql, fields, it)
        same = self._single(_filled(change.unless, fields, it), least=0) if change.unless else 0
        if same or self.database.execute(sql).rowcount < 1:
            raise Infeasible("it changes nothing")
        others = self._nested(change.sql, "", fields, it) if self._wrote is None else []
        number = self._add("execute", sql, others, it)
        # What was asked was asked of the database as it was.
        earlier = range(number) if self._wrote is None else (self._wrote,)
        self.after += [(call, number) for call in earlier if (call, number) not in self.after]
        self._wrote = number
        self._say(change.words[self.split], fields, it)
        self.used |= {change.key, change.table}
        self.keys.append(change.key)

    def _tables(self) -> str:
        schema, told = self.schema, []
        for table, definition in zip(schema.tables, schema.ddl().split(";\n"), strict=False):
            rows = self.database.execute(f"SELECT * FROM {table} ORDER BY id LIMIT {_SHOWN}").fetchall()
            told.append(f"{definition};\n-- such as {', '.join(map(str, rows))}\n")
        return "\n".join(told)

    def fields(self) -> dict[str, str]:
        """What the braces of questions and changes stand for; drawn anew each time where it is drawn."""
        schema, rng = self.schema, self.rng
        things = schema.things.many
        return {
            "g": schema.groups.table, "t": schema.things.table, "p": schema.people.table, "e": schema.events.table,
            "g_id": schema.group_id, "t_id": schema.thing_id, "p_id": schema.person_id,
            "number": schema.number.column, "number_noun": schema.number.noun,
            "amount": schema.amount.column, "amount_noun": schema.amount.noun,
            "day": schema.day, "place": schema.place, "place_noun": schema.place.replace("_", " "),
            "since": schema.since, "since_noun": schema.since.replace("_", " "),
            "group": schema.groups.one, "thing": schema.things.one, "person": schema.people.one,
            "event": schema.events.one, "things": things, "things_title": things.capitalize(),
            "people": schema.people.many, "events": schema.events.many,
            "few": str(rng.randint(2, 12)), "much": str(schema.amount.typical * rng.randint(3, 9)),
            "status": rng.choice(schema.statuses), "new_status": rng.choice(schema.statuses),
            "event_id": str(rng.choice(self._column(schema.events.table, "id"))),
            "step": str(rng.randint(5, 95)), "value": str(schema.number.typical + rng.randint(-99, 999)),
            "count": str(rng.randint(1, 2 * schema.amount.typical)), "cut": self._a_day(DAYS // 2),
            "new_day": self._a_day(DAYS), "new_place": rng.choice(PLACES),
            "a_thing": rng.choice(self._column(schema.things.table, "name")),
            "new_name": f"{rng.choice(FIRST_NAMES)} van {rng.choice(LAST_NAMES)}",
        }  # fmt: skip

    def _about(self, kind: Kind | None) -> Known | None:
        """What was found last, if it is of that kind; else something that the request names."""
        if kind is None:
            return None
        if self.focus is not None and self.focus.kind == kind:
            return self.focus
        schema = self.schema
        table, column = {
            "group": (schema.groups.table, "name"),
            "thing": (schema.things.table, "name"),
            "person": (schema.people.table, "name"),
            "place": (schema.people.table, schema.place),
            "month": (schema.events.table, f"substr({schema.day}, 1, 7)"),
        }[kind]
        return Known(kind, self.rng.choice(self._column(table, column)), None)

    def _say(self, words: str, fields: dict[str, str], it: Known | None) -> None:
        said = ""
        if it is not None:
            noun = {"place": fields["place_noun"], "month": "month"}.get(it.kind) or fields[it.kind]
            named = {"place": f"'{it.value}'", "month": it.value}.get(it.kind) or f"the {noun} '{it.value}'"
            said = named if it.call is None else f"that {noun}"
        text = words.format_map({**fields, "it": said})
        self.sentences.append(text[0].upper() + text[1:])

    def _add(self, tool: str, sql: str, others: list[str], it: Known | None) -> int:
        number = len(self.calls)
        ways = tuple(GoldCall(name=tool, arguments={"sql": stamped(way, self.name)}) for way in others)
        self.calls.append(GoldCall(name=tool, arguments={"sql": stamped(sql, self.name)}, alternatives=ways))
        if it is not None and it.call is not None:
            self.after.append((it.call, number))
        return number

    def _nested(self, template: str, score: str, fields: dict[str, str], it: Known | None) -> list[str]:
        """The same statement with the query that found what it is about inside, as one may well write it."""
        if it is None or it.call is None:
            return []
        inner = Known(it.kind, it.value, it.call, f"({it.sql})")
        sql = template.format_map({**fields, "it": inner.sql})
        return [f"{sql} ORDER BY {score.format_map({**fields, 'it': inner.sql})} DESC LIMIT 1" if score else sql]

    def _ranked(self, sql: str, score: str) -> str:
        column, rest = sql.removeprefix("SELECT ").split(" FROM ", 1)
        first = self.database.execute(f"SELECT {column}, {score} FROM {rest} ORDER BY 2 DESC LIMIT 2").fetchall()
        if len(first) < 2 or first[0][1] == first[1][1]:
            raise Infeasible("a tie")
        return f"{sql} ORDER BY {score} DESC LIMIT 1"

    def _single(self, sql: str, *, least: int = 1) -> Any:
        rows = self.database.execute(sql).fetchall()
        value = rows[0][0] if len(rows) == 1 else None
        if value is None or (isinstance(value, int) and value < least):
            raise Infeasible("no single answer")
        return value

    def _no_tie(self, sql: str, value: float) -> None:
        """Averages that every database rounds the same way, to a number that every one writes alike."""
        total = sql.replace("ROUND(AVG(", "SUM(").replace("), 2)", ")")
        count = sql.replace("ROUND(AVG(", "COUNT(").replace("), 2)", ")")
        exact = Fraction(self._single(total), self._single(count)) * 1000
        if abs(exact % 10 - 5) < Fraction(1, 100) or value == int(value):
            raise Infeasible("an average on the border")

    def _column(self, table: str, column: str) -> list[Any]:
        return [value for (value,) in self.database.execute(f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")]

    def _a_day(self, within: int) -> str:
        return (FIRST_DAY + timedelta(days=self.rng.randrange(within // 4, within))).isoformat()

    def close(self) -> None:
        """Let the database go."""
        self.database.close()


def _filled(template: str, fields: dict[str, str], it: Known | None) -> str:
    return template.format_map({**fields, "it": f"'{it.value}'" if it is not None else ""})
