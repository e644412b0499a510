"""A seeded project tree: sources that import each other, settings, logs, tables, pages, scripts, and leftovers.

Everything hangs together: settings name files that are there, a function is used where it is imported, and a ticket
such as `FERN-218` stands in one file only, so that a request can speak of the file that mentions it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tir_gym.env import Split
from tir_gym.envs.files.vocabulary import SHARED, VOCABULARY, Layout, Table

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass
class Project:
    """A tree, and what is where in it."""

    name: str
    layout: Layout
    files: dict[str, Any] = field(default_factory=dict)
    """By path: text, or `{"text": ..., "executable": True}`."""
    sources: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    """Those that other files use."""
    ini: dict[str, dict[str, str]] = field(default_factory=dict)
    """Settings by path of an .ini file, `section.key` -> value."""
    json: dict[str, dict[str, str]] = field(default_factory=dict)
    """Likewise, of .json files."""
    logs: dict[str, list[str]] = field(default_factory=dict)
    """Log files by the folder of their service."""
    tables: list[str] = field(default_factory=list)
    """Files of one table, in order."""
    table: Table = VOCABULARY["train"].tables[0]
    pages: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    tickets: dict[str, str] = field(default_factory=dict)
    """By path, the ticket that only this file mentions."""
    free_tickets: list[str] = field(default_factory=list)
    """Tickets that no file mentions."""
    pointers: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By path, the .ini file and the setting that name it."""


def make_project(split: Split, rng: random.Random) -> Project:
    """A project of that split; some 45 files, some 25 KB."""
    return _Maker(split, rng).make()


class _Maker:
    def __init__(self, split: Split, rng: random.Random) -> None:
        self.rng = rng
        self.words = VOCABULARY[split]
        self.name, self.purpose = rng.choice(self.words.projects)
        self.project = Project(self.name, rng.choice(self.words.layouts))
        numbers = rng.sample(range(100, 1000), 40)
        self.unused = [f"{rng.choice(self.words.prefixes)}-{number}" for number in numbers]

    def make(self) -> Project:
        self._logs()
        self._tables()
        self._pages()
        self._sources()
        self._settings()
        self._scripts()
        self._leftovers()
        project = self.project
        project.free_tickets = self.unused[:10]
        order = list(project.files)
        self.rng.shuffle(order)  # nothing may depend on the order in which files were made
        project.files = {path: project.files[path] for path in order}
        return project

    def _ticket(self, path: str, chance: float = 0.6) -> str | None:
        """A ticket for a file to mention, or none."""
        if self.rng.random() >= chance:
            return None
        self.project.tickets[path] = self.unused.pop()
        return self.project.tickets[path]

    def _logs(self) -> None:
        rng, folder = self.rng, self.project.layout.logs
        first = datetime(self.words.year + 1, rng.randrange(1, 12), rng.randrange(1, 20))
        for service in rng.sample(self.words.services, 3):
            paths = []
            for day in sorted(rng.sample(range(8), rng.choice((2, 3, 3)))):
                date = first + timedelta(days=day)
                path = f"{folder}/{service}/{date:%Y-%m-%d}.log"
                self.project.files[path] = self._log(date, self._ticket(path, 0.4))
                paths.append(path)
            self.project.logs[f"{folder}/{service}"] = paths

    def _log(self, moment: datetime, ticket: str | None) -> str:
        rng, lines = self.rng, []
        moment += timedelta(hours=rng.randrange(5, 9))
        weights = [rng.randrange(1, 5) for _ in LEVELS]
        count = rng.randrange(12, 26)
        marked = rng.randrange(count)
        for number in range(count):
            moment += timedelta(seconds=rng.randrange(20, 1500))
            level = rng.choices(LEVELS, weights)[0]
            what = f"{rng.choice(SHARED.subjects)} {rng.choice(SHARED.endings)} after {rng.randrange(2, 900)} ms"
            known = f", known as {ticket}" if ticket and number == marked else ""
            lines.append(f"{moment:%Y-%m-%d %H:%M:%S} {level} {what}{known}\n")
        return "".join(lines)

    def _tables(self) -> None:
        rng, project = self.rng, self.project
        table = project.table = rng.choice(self.words.tables)
        number = 1000 * rng.randrange(1, 9)
        for month in self.words.months[: rng.choice((3, 4))]:
            path = f"{project.layout.data}/{self.words.year}/{table.name}-{month}.csv"
            rows = [f"id,{table.label},{table.column},{table.amount}\n"]
            for _ in range(rng.randrange(8, 20)):
                number += rng.randrange(1, 5)
                cells = (number, rng.choice(table.labels), rng.choice(table.values), rng.randrange(2, 250))
                rows.append(",".join(map(str, cells)) + "\n")
            project.files[path] = "".join(rows)
            project.tables.append(path)
        readme = f"{project.layout.data}/README.txt"
        project.files[readme] = f"One file per month, the {table.amount} in the last column.\n"

    def _pages(self) -> None:
        rng, project = self.rng, self.project
        for page in rng.sample(self.words.pages, 4):
            path = f"{project.layout.docs}/{page}.md"
            ticket = self._ticket(path, 0.8)
            lines = rng.sample(SHARED.sentences, rng.randrange(3, 6))
            if ticket:
                lines.insert(rng.randrange(1, len(lines)), f"See {ticket}.")
            title = f"{page.capitalize()} of {self.name}, by {rng.choice(self.words.people)}"
            project.files[path] = f"# {title}\n\n" + "".join(f"{line}\n" for line in lines)
            project.pages.append(path)
        project.files["README.md"] = f"# {self.name}\n\nThis project {self.purpose}.\n\n" + "".join(
            f"- {path}\n" for path in sorted(project.pages)
        )
        day = datetime(self.words.year + 1, 1, 1)
        entries = []
        for minor in range(rng.randrange(4, 7)):
            day += timedelta(days=rng.randrange(9, 40))
            version = f"2.{minor}.{rng.randrange(10)}"
            entries.append(f"## {version} ({day:%Y-%m-%d})\n\n- {rng.choice(SHARED.sentences)}\n\n")
            project.versions.append(version)
        project.files["CHANGELOG.md"] = "# Changes\n\n" + "".join(reversed(entries))

    def _sources(self) -> None:
        rng, project = self.rng, self.project
        names = [f"{verb}_{noun}" for verb in self.words.verbs for noun in self.words.nouns]
        modules = rng.sample(self.words.modules, 6)
        areas = rng.sample(self.words.areas, 3)
        functions = {module: rng.sample(names, 2) for module in modules}
        homes = {module: rng.choice(areas) for module in modules}
        taken: set[str] = set()
        for module in modules:  # no function is defined twice
            functions[module] = [name for name in functions[module] if name not in taken] or [f"run_{module}"]
            taken.update(functions[module])
        for place, module in enumerate(modules):
            path = f"{project.layout.source}/{self.name}/{homes[module]}/{module}.py"
            used = [functions[other][0] for other in rng.sample(modules[:place], min(place, 2))]
            lines = [f'"""The {module} of {self.name}."""\n\n']
            ticket = self._ticket(path)
            lines += [f"# Why it is so: {ticket}.\n"] if ticket else []
            for name in used:
                home = next(other for other in modules if functions[other][0] == name)
                lines.append(f"from {self.name}.{homes[home]}.{home} import {name}\n")
            lines.append(f"\nLIMIT_{module.upper()} = {rng.randrange(10, 500)}\n")
            for number, name in enumerate(functions[module]):
                lines.append(f"\n\ndef {name}(items):\n")
                if rng.random() < 0.3 and "TODO(" not in "".join(lines):
                    lines.append(f"    # TODO({rng.choice(self.words.people)}): {rng.choice(SHARED.chores)}\n")
                inner = f"{used[number % len(used)]}(items)" if used else "list(items)"
                lines.append(f"    return {inner}[:LIMIT_{module.upper()}]\n")
            project.files[path] = "".join(lines)
            project.sources.append(path)
        for module in rng.sample(modules, 2):
            name = functions[module][0]
            project.files[f"{project.layout.tests}/test_{module}.py"] = (
                f"from {self.name}.{homes[module]}.{module} import {name}\n\n\n"
                f"def test_{module}():\n    assert {name}([]) == []\n"
            )
        used_names = [functions[module][0] for module in modules]
        sources = [text for path, text in project.files.items() if path.endswith(".py")]
        project.functions = [name for name in used_names if 2 <= sum(name in text for text in sources) <= 4]

    def _settings(self) -> None:
        rng, project = self.rng, self.project
        targets = [*project.pages, *(path for paths in project.logs.values() for path in paths), *project.tables]
        sections = {section: rng.sample(self.words.keys, 3) for section in rng.sample(self.words.sections, 2)}
        for stage in self.words.stages:
            path = f"{project.layout.config}/{stage}/{self.name}.ini"
            ticket = self._ticket(path)
            lines, values = [f"; {ticket}\n"] if ticket else [], {}
            for section, keys in sections.items():
                lines.append(f"[{section}]\n")
                for key in keys:
                    values[f"{section}.{key}"] = str(rng.randrange(2, 900))
                    lines.append(f"{key} = {values[f'{section}.{key}']}\n")
                lines.append("\n")
            lines.append("[paths]\n")
            for key in ("latest", "summary"):
                target = rng.choice(targets)
                values[f"paths.{key}"] = target
                lines.append(f"{key} = {target}\n")
                project.pointers[target] = (path, f"paths.{key}")
            project.files[path] = "".join(lines)
            project.ini[path] = values
        for service in rng.sample(self.words.services, 2):
            path = f"{project.layout.config}/services/{service}.json"
            section, *keys = rng.choice(self.words.sections), *rng.sample(self.words.keys, 3)
            inner = {key: rng.randrange(2, 900) for key in keys}
            owner = rng.choice(self.words.people)
            data = {"service": service, "owner": owner, section: inner}
            project.files[path] = json.dumps(data, indent=2) + "\n"
            project.json[path] = {"owner": owner, **{f"{section}.{key}": str(value) for key, value in inner.items()}}

    def _scripts(self) -> None:
        layout = self.project.layout
        scripts = {
            "count-lines.sh": '# Prints how many lines of the file $2 contain $1.\ngrep -c -- "$1" "$2"\n',
            "add-up.sh": (
                "# Prints the sum of the last column of the table $1.\n"
                "total=0\nwhile IFS=, read -r id label column amount; do\n"
                '  [ "$id" = id ] || total=$((total + amount))\n'
                'done < "$1"\necho "$total"\n'
            ),
            "list-pages.sh": (
                "# Writes the titles of all pages into pages.txt.\n"
                f"grep -h '^# ' {layout.docs}/*.md | sort > {layout.docs}/pages.txt\n"
            ),
            "list-sources.sh": (
                "# Writes the paths of all sources into sources.txt.\n"
                f"find {layout.source} -name '*.py' | sort > {layout.scripts}/sources.txt\n"
            ),
        }
        for name, body in scripts.items():
            path = f"{layout.scripts}/{name}"
            text = f"#!/bin/sh\n{body}"
            executable = self.rng.random() < 0.5
            self.project.files[path] = {"text": text, "executable": True} if executable else text
            self.project.scripts.append(path)

    def _leftovers(self) -> None:
        rng, project = self.rng, self.project
        ending = rng.choice(self.words.leftovers)
        originals = [*project.sources, *project.ini, *project.pages]
        for path in rng.sample(originals, rng.randrange(2, 5)):
            # Without the line that makes its original unique.
            ticket = project.tickets.get(path, "\0")
            kept = [line for line in project.files[path].splitlines(keepends=True) if ticket not in line]
            project.files[f"{path}{ending}"] = "".join(kept[:-1])
            project.leftovers.append(f"{path}{ending}")
