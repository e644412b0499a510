"""Files as a request describes them, and the look-ups by which an agent finds what is meant.

`some_file` draws a file and a way of describing it: by its path, by a ticket that only this file mentions, by its name
somewhere below a folder, or by the setting that names it. The gold calls of that way are made, and it is checked that
the description fits nothing else.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from tir_gym.envs.files.draft import Draft
from tir_gym.envs.writing.draft import Infeasible, Value, quote


@dataclass(frozen=True)
class Thing:
    """A file: its path, where a gold call found it, and what the request calls it."""

    path: str
    value: Value
    words: str


def some_file(d: Draft, candidates: Iterable[str], *, plain: bool = False) -> Thing:
    """One of the files, from now on closed to other parts of the task.

    Args:
        d: The draft.
        candidates: Paths.
        plain: Whether to call it by its path.

    Raises:
        Infeasible: None is left, or the description fits another file, too.
    """
    path = d.take("path", candidates)
    ways = ["path", "path", "name"]
    if path in d.project.tickets:
        ways += ["ticket"] * 3
    if path in d.project.pointers:
        ways += ["setting"] * 3
    way = "path" if plain else d.rng.choice(ways)
    if way == "ticket":
        return _by_ticket(d, path)
    if way == "name":
        return _by_name(d, path)
    if way == "setting":
        return _by_setting(d, path)
    return Thing(path, Value(path), quote(path))


def top(path: str) -> str:
    """The first folder of a path, or the working folder."""
    head, slash, _ = path.partition("/")
    return head if slash else "."


def say_folder(d: Draft, folder: str) -> str:
    """A folder as a request names it."""
    return d.say("everywhere") if folder == "." else d.say("under", folder=quote(folder))


def _by_ticket(d: Draft, path: str) -> Thing:
    ticket, folder = d.project.tickets[path], d.rng.choice((top(path), "."))
    found = d.call_in_a_way("find_text", _wider_and_narrower(path, folder), text=ticket, folder=folder)
    if len(found.content["matches"]) != 1:
        raise Infeasible("the ticket stands elsewhere, too")
    words = d.say("file_by_ticket", ticket=quote(ticket), where=say_folder(d, folder))
    return Thing(path, found.at("matches", 0, "path"), words)


def _by_name(d: Draft, path: str) -> Thing:
    name, folder = posixpath.basename(path), top(path)
    found = d.call_in_a_way("list_files", _wider_and_narrower(path, folder), folder=folder, name=name)
    if len(found.content["files"]) != 1:
        raise Infeasible("another file has that name")
    words = d.say("file_by_name", name=quote(name), where=say_folder(d, folder))
    return Thing(path, found.at("files", 0, "path"), words)


def _by_setting(d: Draft, path: str) -> Thing:
    settings, key = d.project.pointers[path]
    if settings in d.project.tickets and d.rng.random() < 0.5:
        holder = _by_ticket(d, settings)
    else:
        holder = Thing(settings, Value(settings), quote(settings))
    found = d.call("get_setting", path=holder.value, key=key)
    if found.content["value"] != path:
        raise Infeasible("the setting names another file")
    return Thing(path, found.at("value"), d.say("file_by_setting", key=quote(key), file=holder.words))


def _wider_and_narrower(path: str, folder: str) -> list[dict[str, str]]:
    """The whole project, or the first folder of the path, where that is not the folder that is looked in anyway."""
    return [{"folder": other} for other in (".", top(path)) if other != folder]


def files_of(d: Draft, *kinds: str) -> list[str]:
    """Files of the project of those kinds: `source`, `ini`, `json`, `log`, `table`, `page`, `leftover`."""
    project = d.project
    found = {
        "source": project.sources,
        "ini": list(project.ini),
        "json": list(project.json),
        "log": [path for paths in project.logs.values() for path in paths],
        "table": project.tables,
        "page": project.pages,
        "leftover": project.leftovers,
    }
    return [path for kind in kinds for path in found[kind]]


def new_path(d: Draft, like: str) -> str:
    """A path that nothing has yet, with the ending of a file."""
    name = f"{d.take('file name', d.words.file_names)}{posixpath.splitext(like)[1]}"
    folder = d.rng.choice((posixpath.dirname(like), top(like), d.rng.choice(d.words.archives)))
    return posixpath.normpath(posixpath.join(folder, name))
