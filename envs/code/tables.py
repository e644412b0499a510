"""Rows to be filtered and added up, step by step, from a table (CSV), from nested records (JSON) or from a log.

However the file looks, its rows are loaded as a list of objects; every later step makes a new list or figure of what
the step before has left, so no step can be skipped.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeAlias

from tir_gym.envs.code.draft import Draft
from tir_gym.envs.code.wordings import VOCABULARY
from tir_gym.envs.writing.draft import Infeasible
from tir_gym.records import ToolCall

FILTERS: dict[str, tuple[int, ...]] = {"train": (0, 1, 1, 2), "test": (1, 2, 2, 3)}
"""Filters between loading and the last figure."""

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Row: TypeAlias = dict[str, Any]


@dataclass
class Table:
    """Rows as they lie in a file, and what their columns are called.

    `group` and `kind` are columns of words, `count` one of whole numbers, `amount` one of numbers with two decimals,
    which some rows lack, and `day` one of dates.
    """

    noun: str
    """What a row is, in the plural."""
    file: str
    columns: dict[str, str]
    groups: list[str]
    kinds: list[str]
    rows: list[Row]

    def __getitem__(self, column: str) -> str:
        return self.columns[column]


def table_task(d: Draft) -> None:
    """Fill the draft with a table and a chain of steps on it."""
    spec = d.rng.choice(VOCABULARY[d.split]["tables"])
    table = _drawn(d, spec)
    write = d.rng.choice((_as_csv, _as_json, _as_log))
    filters = d.rng.sample(_FILTERS, d.rng.choice(FILTERS[d.split]))
    end = d.rng.choice(_ENDS)
    d.claim(write, *filters, end)
    load = write(d, table)
    d.make_room()
    d.step("load", load, noun=table.noun, file=table.file, amount=table["amount"])
    name = "rows"
    for keep in filters:
        name = keep(d, table, name)
    end(d, table, name)


def _drawn(d: Draft, spec: dict[str, Any]) -> Table:
    rng = d.rng
    columns = {column: rng.choice(spec[column]) for column in ("group", "kind", "count", "amount", "day")}
    groups, kinds = rng.sample(spec["groups"], 4), rng.sample(spec["kinds"], 5)
    start = date(2021, 1, 1) + timedelta(days=rng.randrange(1000))
    rows = [
        {
            columns["day"]: str(start + timedelta(days=rng.randrange(80))),
            columns["group"]: rng.choice(groups),
            columns["kind"]: rng.choice(kinds),
            columns["count"]: rng.randrange(1, 60),
            columns["amount"]: None if rng.random() < 0.1 else rng.randrange(200, 20_000) / 100,
        }
        for _ in range(rng.randrange(60, 140))
    ]
    return Table(rng.choice(spec["nouns"]), "", columns, groups, kinds, rows)


# Files, and how they are loaded.


def _as_csv(d: Draft, table: Table) -> str:
    table.file = f"{table.noun}_{d.rng.randrange(100, 1000)}.csv"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table.rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.rows)
    d.files[table.file] = text.getvalue()
    d.intro = d.say("csv_intro", file=table.file, noun=table.noun, columns=_listed(list(table.rows[0])))
    count, amount = table["count"], table["amount"]
    return (
        "import csv\n"
        f'with open("{table.file}", newline="") as file:\n'
        f'    rows = [row for row in csv.DictReader(file) if row["{amount}"]]\n'
        "for row in rows:\n"
        f'    row["{count}"], row["{amount}"] = int(row["{count}"]), float(row["{amount}"])\n'
        "print(len(rows))"
    )


def _as_json(d: Draft, table: Table) -> str:
    table.file = f"{table.noun}_{d.rng.randrange(100, 1000)}.json"
    group = table["group"]
    nested = [
        {
            group: name,
            table.noun: [
                {key: value for key, value in row.items() if key != group} for row in table.rows if row[group] == name
            ],
        }
        for name in table.groups
    ]
    d.files[table.file] = json.dumps(nested, indent=1)
    columns = _listed([column for column in table.rows[0] if column != group])
    d.intro = d.say("json_intro", file=table.file, noun=table.noun, group=group, columns=columns)
    return (
        "import json\n"
        f'with open("{table.file}") as file:\n'
        "    nested = json.load(file)\n"
        f'rows = [{{"{group}": part["{group}"], **row}} for part in nested for row in part["{table.noun}"]]\n'
        f'rows = [row for row in rows if row["{table["amount"]}"] is not None]\n'
        "print(len(rows))"
    )


def _as_log(d: Draft, table: Table) -> str:
    table.file = f"{table.noun}_{d.rng.randrange(100, 1000)}.log"
    day, rest = table["day"], [column for column in table.rows[0] if column != table["day"]]
    lines = [
        " ".join([row[day], *(f"{column}={'-' if row[column] is None else row[column]}" for column in rest)])
        for row in table.rows
    ]
    d.files[table.file] = "\n".join(lines) + "\n"
    d.intro = d.say("log_intro", file=table.file, noun=table.noun, columns=_listed(rest), day=day)
    count, amount = table["count"], table["amount"]
    return (
        "rows = []\n"
        f'with open("{table.file}") as file:\n'
        "    for line in file:\n"
        "        day, *parts = line.split()\n"
        f'        row = {{"{day}": day, **dict(part.split("=", 1) for part in parts)}}\n'
        f'        if row["{amount}"] != "-":\n'
        f'            row["{count}"], row["{amount}"] = int(row["{count}"]), float(row["{amount}"])\n'
        "            rows.append(row)\n"
        "print(len(rows))"
    )


# Filters: each makes a list of its own name out of the last one.


def _of_group(d: Draft, table: Table, rows: str) -> str:
    group = d.rng.choice(table.groups)
    code = f'of_group = [row for row in {rows} if row["{table["group"]}"] == "{group}"]\nprint(len(of_group))'
    d.step("of_group", code, noun=table.noun, column=table["group"], value=group)
    return "of_group"


def _not_of_kind(d: Draft, table: Table, rows: str) -> str:
    kind = d.rng.choice(table.kinds)
    code = f'others = [row for row in {rows} if row["{table["kind"]}"] != "{kind}"]\nprint(len(others))'
    d.step("not_of_kind", code, noun=table.noun, column=table["kind"], value=kind)
    return "others"


def _above_mean(d: Draft, table: Table, rows: str) -> str:
    """Two steps: a limit, and what lies above it."""
    middle, amount = d.rng.choice(("mean", "median")), table["amount"]
    code = f'import statistics\nlimit = statistics.{middle}(row["{amount}"] for row in {rows})\nprint(round(limit, 2))'
    d.step(f"limit_{middle}", code, noun=table.noun, column=amount)
    d.step("above", f'above = [row for row in {rows} if row["{amount}"] > limit]\nprint(len(above))', noun=table.noun,
           column=amount, middle=middle)  # fmt: skip
    return "above"


def _on_weekdays(d: Draft, table: Table, rows: str) -> str:
    first = d.rng.randrange(5)
    code = (
        "from datetime import date\n"
        f'weekdays = [row for row in {rows} if date.fromisoformat(row["{table["day"]}"]).weekday() >= {first}]\n'
        "print(len(weekdays))"
    )
    d.step("weekdays", code, noun=table.noun, column=table["day"], first=_DAYS[first])
    return "weekdays"


def _before(d: Draft, table: Table, rows: str) -> str:
    days = sorted(row[table["day"]] for row in table.rows)
    day = days[d.rng.randrange(len(days) // 2, len(days) - 5)]
    code = f'early = [row for row in {rows} if row["{table["day"]}"] < "{day}"]\nprint(len(early))'
    d.step("before", code, noun=table.noun, column=table["day"], value=day)
    return "early"


_FILTERS: tuple[Callable[[Draft, Table, str], str], ...] = (_of_group, _not_of_kind, _above_mean, _on_weekdays, _before)


# Ends: the figure that is asked for.


def _total(d: Draft, table: Table, rows: str) -> None:
    d.step("total", f'print(sum(row["{table["count"]}"] for row in {rows}))', noun=table.noun, column=table["count"])


def _product(d: Draft, table: Table, rows: str) -> None:
    count, amount = table["count"], table["amount"]
    code = f'print(round(sum(row["{count}"] * row["{amount}"] for row in {rows}), 2))'
    d.step("product", code, noun=table.noun, column=count, other=amount)


def _best(d: Draft, table: Table, rows: str) -> None:
    column = d.rng.choice((table["kind"], table["group"]))
    code = (
        "totals = {}\n"
        f"for row in {rows}:\n"
        f'    totals[row["{column}"]] = totals.get(row["{column}"], 0) + row["{table["count"]}"]\n'
        "ranked = sorted(totals, key=lambda name: (-totals[name], name))\n"
        "print(ranked[0])"
    )
    _one_leads(d, table, rows, column)
    d.step("best", code, noun=table.noun, column=column, other=table["count"])


def _one_leads(d: Draft, table: Table, rows: str, column: str) -> None:
    """See that there is one answer, without a step of it.

    Raises:
        Infeasible: Two share the first place, or there is only one.
    """
    assert d.sandbox is not None
    code = (
        "import collections as _c\n"
        "_t = _c.Counter()\n"
        f"for _r in {rows}:\n"
        f'    _t[_r["{column}"]] += _r["{table["count"]}"]\n'
        "_m = _t.most_common(2)\n"
        "print(len(_m) == 2 and _m[0][1] > _m[1][1])"
    )
    if d.sandbox.call(ToolCall("python", {"code": code})).content != "True\n":
        raise Infeasible("nobody leads")


def _spread(d: Draft, table: Table, rows: str) -> None:
    amount = table["amount"]
    code = (
        f'amounts = sorted(row["{amount}"] for row in {rows})\n'
        "print(round(amounts[-1] - amounts[0], 2))"
    )  # fmt: skip
    d.step("spread", code, noun=table.noun, column=amount)


_ENDS: tuple[Callable[[Draft, Table, str], None], ...] = (_total, _product, _best, _spread)


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
