"""Facts that a request asks for, each with the look-ups that find it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tir_gym.envs.files.draft import Draft
from tir_gym.envs.files.finders import files_of, say_folder, some_file
from tir_gym.envs.files.project import LEVELS
from tir_gym.envs.writing.draft import Infeasible, Value, quote
from tir_gym.envs.writing.speech import say_list
from tir_gym.records import AnswerCheck, Json

AnswerType: TypeAlias = Literal["text", "number", "time", "date", "set"]


@dataclass(frozen=True)
class Item:
    """A fact: what it is called in a request, what it is, and where it is found."""

    words: str
    type: AnswerType
    value: Json
    sources: Sequence[Value]

    def check(self) -> AnswerCheck:
        """The check that the final answer states it."""
        refs = tuple(source.ref for source in self.sources if source.ref is not None)
        return AnswerCheck(type=self.type, value=self.value, sources=refs)


# Numbers.


def lines_with(d: Draft) -> Item:
    thing, level = some_file(d, files_of(d, "log")), d.rng.choice(LEVELS)
    count = d.call("find_text", text=level, folder=thing.value).at("count")
    return Item(d.say("lines_with", text=quote(level), file=thing.words), "number", count.value, [count])


def lines_with_in_all(d: Draft) -> Item:
    things = [some_file(d, files_of(d, "log")) for _ in range(d.rng.choice((2, 3)))]
    level = d.rng.choice(LEVELS)
    counts = [d.call("find_text", text=level, folder=thing.value).at("count") for thing in things]
    words = d.say("lines_with_in_all", text=quote(level), files=say_list([thing.words for thing in things]))
    return Item(words, "number", sum(count.value for count in counts), counts)


def length(d: Draft) -> Item:
    thing = some_file(d, files_of(d, "source", "page", "log"))
    lines = d.call("read_file", path=thing.value).at("lines")
    return Item(d.say("length", file=thing.words), "number", lines.value, [lines])


def rows_with(d: Draft) -> Item:
    table, thing = d.project.table, some_file(d, files_of(d, "table"))
    value = d.rng.choice(table.values)
    count = d.call("select_rows", path=thing.value, column=table.column, value=value).at("count")
    words = d.say("rows_with", file=thing.words, value=quote(value), column=quote(table.column))
    return Item(words, "number", count.value, [count])


def total_of_rows(d: Draft) -> Item:
    table = d.project.table
    things = [some_file(d, files_of(d, "table")) for _ in range(d.rng.choice((1, 2, 2)))]
    column, values = d.rng.choice(((table.column, table.values), (table.label, table.labels)))
    value = d.rng.choice(values)
    rows = [d.call("select_rows", path=thing.value, column=column, value=value).at("rows") for thing in things]
    words = d.say(
        "total_of_rows",
        files=say_list([thing.words for thing in things]),
        value=quote(value),
        column=quote(column),
        amount=quote(table.amount),
    )
    return Item(words, "number", sum(int(row[table.amount]) for part in rows for row in part.value), rows)


def gap(d: Draft) -> Item:
    things = [some_file(d, d.project.ini), some_file(d, d.project.ini)]
    key = d.pick(key for key in d.project.ini[things[0].path] if not key.startswith("paths"))
    values = [d.call("get_setting", path=thing.value, key=key).at("value") for thing in things]
    difference = abs(int(values[0].value) - int(values[1].value))
    if not difference:
        raise Infeasible("no difference")
    words = d.say("gap", key=quote(key), first=things[0].words, second=things[1].words)
    return Item(words, "number", difference, values)


def printed_sum(d: Draft) -> Item:
    d.take("once", ["run"])
    command = f"sh {_script(d, 'add-up.sh')} {some_file(d, files_of(d, 'table'), plain=True).path}"
    shown = d.call("run", command=command).at()
    return Item(d.say("printed", command=quote(command)), "number", int(shown.value), [shown])


def printed_count(d: Draft) -> Item:
    d.take("once", ["run"])
    path = some_file(d, files_of(d, "log"), plain=True).path
    level = d.pick(level for level in LEVELS if level in d.text(path))  # without a match it fails
    command = f"sh {_script(d, 'count-lines.sh')} {level} {path}"
    shown = d.call("run", command=command).at()
    return Item(d.say("printed", command=quote(command)), "number", int(shown.value), [shown])


# Texts.


def setting(d: Draft) -> Item:
    thing = some_file(d, files_of(d, "ini", "json"))
    settings = {**d.project.ini, **d.project.json}[thing.path]
    key = d.pick(settings)
    value = d.call("get_setting", path=thing.value, key=key).at("value")
    return Item(d.say("setting", key=quote(key), file=thing.words), "text", value.value, [value])


def who_must(d: Draft) -> Item:
    thing = some_file(d, [path for path in d.project.sources if "TODO(" in d.text(path)])
    found = d.call("find_text", text="TODO", folder=thing.value)
    line = found.at("matches", 0, "text")
    name = re.findall(r"TODO\((\w+)\)", line.value)
    if len(name) != 1 or len(found.content["matches"]) != 1:
        raise Infeasible("several of them")
    return Item(d.say("who_must", file=thing.words), "text", name[0], [line])


def title(d: Draft) -> Item:
    thing = some_file(d, files_of(d, "page"))
    text = d.call("read_file", path=thing.value).at("text")
    return Item(d.say("title", file=thing.words), "text", text.value.splitlines()[0].removeprefix("# "), [text])


def busiest_log(d: Draft) -> Item:
    folder, level = d.take("folder", d.project.logs), d.rng.choice(LEVELS)
    found = d.call("find_text", text=level, folder=folder)
    paths = [match["path"] for match in found.content["matches"]]
    ranked = sorted(set(paths), key=paths.count)
    if len(ranked) < 2 or paths.count(ranked[-1]) == paths.count(ranked[-2]):
        raise Infeasible("no single one has the most")
    path = found.at("matches", paths.index(ranked[-1]), "path")
    return Item(d.say("busiest_log", where=say_folder(d, folder), text=quote(level)), "text", path.value, [path])


def largest(d: Draft) -> Item:
    folder = d.take("folder", [d.project.layout.source, d.project.layout.docs, *d.project.logs])
    found = d.call("list_files", folder=folder)
    sizes = [file["bytes"] for file in found.content["files"]]
    if len(sizes) < 2 or sizes.count(max(sizes)) > 1:
        raise Infeasible("no single one is the largest")
    path = found.at("files", sizes.index(max(sizes)), "path")
    return Item(d.say("largest", where=say_folder(d, folder)), "text", path.value, [path])


# Sets, dates and times.


def users_of(d: Draft) -> Item:
    name = d.take("function", d.project.functions)
    found = d.call("find_text", text=name, folder=".", name="*.py")
    first: dict[str, int] = {}
    for place, match in enumerate(found.content["matches"]):
        first.setdefault(match["path"], place)
    paths = [found.at("matches", place, "path") for place in first.values()]
    return Item(d.say("users_of", name=quote(name)), "set", [path.value for path in paths], paths)


def release_day(d: Draft) -> Item:
    version = d.take("version", d.project.versions)
    found = d.call("find_text", text=version, folder="CHANGELOG.md")
    if found.content["count"] != 1:
        raise Infeasible("another version has that number in it")
    line = found.at("matches", 0, "text")
    (day,) = re.findall(r"\((\S+)\)", line.value)
    return Item(d.say("release_day", version=quote(version)), "date", day, [line])


def last_time(d: Draft) -> Item:
    thing, level = some_file(d, files_of(d, "log")), d.rng.choice(LEVELS)
    found = d.call("find_text", text=level, folder=thing.value)
    if not found.content["matches"]:
        raise Infeasible("no such line")
    line = found.at("matches", len(found.content["matches"]) - 1, "text")
    return Item(d.say("last_time", text=quote(level), file=thing.words), "time", line.value[11:16], [line])


def _script(d: Draft, name: str) -> str:
    return next(path for path in d.project.scripts if path.endswith(f"/{name}"))


QUESTIONS: tuple[Callable[[Draft], Item], ...] = (
    *(lines_with, lines_with_in_all, lines_with_in_all, length, rows_with, total_of_rows, total_of_rows, gap, gap),
    *(printed_sum, printed_count, setting, who_must, title, title, busiest_log, largest),
    *(users_of, release_day, last_time),
)
"""Every kind of fact; those of several look-ups twice."""
