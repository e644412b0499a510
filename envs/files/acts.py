"""What can be asked for: every act makes its gold calls and gives the words of a command.

Acts that leave out a value when told so (`ask`) stand in `ASKABLE`, too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from tir_gym.envs.files.draft import Draft
from tir_gym.envs.files.finders import Thing, files_of, new_path, say_folder, some_file, top
from tir_gym.envs.files.project import LEVELS
from tir_gym.envs.writing.draft import Found, Infeasible, Value, quote

Act: TypeAlias = Callable[[Draft], str]

_MOST_AT_ONCE = 5
"""Files that one act changes."""


# One file.


def move(d: Draft, ask: bool = False) -> str:
    thing = some_file(d, files_of(d, "page", "log", "table", "leftover", "json"))
    path = new_path(d, thing.path)
    if ask:
        d.ask("path", _PLACE, d.say("reply_path", path=quote(path)))
    d.call("move_file", source=thing.value, destination=path)
    return d.say("move_ask" if ask else "move", file=thing.words, path=quote(path))


def copy(d: Draft) -> str:
    thing = some_file(d, files_of(d, "page", "log", "table", "json", "ini"))
    path = new_path(d, thing.path)
    d.call("copy_file", source=thing.value, destination=path)
    return d.say("copy", file=thing.words, path=quote(path))


def delete(d: Draft) -> str:
    thing = some_file(d, files_of(d, "leftover", "log", "page"))
    d.call("delete_file", path=thing.value)
    return d.say("delete", file=thing.words)


def append(d: Draft, ask: bool = False) -> str:
    thing, line = some_file(d, files_of(d, "page")), d.take("line", d.words.lines)
    if ask:
        d.ask("line", _TEXT, d.say("reply_text", text=quote(line)))
    d.call("append_text", path=thing.value, text=line)
    return d.say("append_ask" if ask else "append", file=thing.words, text=quote(line))


def write(d: Draft) -> str:
    path, line = new_path(d, d.pick(d.project.pages)), d.take("line", d.words.lines)
    d.call("write_file", path=path, text=line)
    return d.say("write", path=quote(path), text=quote(line))


def make_executable(d: Draft) -> str:
    scripts = [path for path in d.project.scripts if isinstance(d.project.files[path], str)]
    thing = some_file(d, scripts)
    d.call("set_executable", path=thing.value, executable=True)
    return d.say("make_executable", file=thing.words)


def prune(d: Draft) -> str:
    thing = some_file(d, files_of(d, "log"))
    level = d.pick(level for level in LEVELS if level in d.text(thing.path))
    d.call("delete_lines", path=thing.value, text=level)
    return d.say("prune", file=thing.words, text=quote(level))


def copy_and_edit(d: Draft) -> str:
    thing = some_file(d, files_of(d, "source"))
    path = new_path(d, thing.path)
    name, number = d.pick(re.findall(r"^(LIMIT_\w+) = (\d+)$", d.text(thing.path), re.MULTILINE))
    new = str(int(number) + d.rng.randrange(1, 90))
    d.call("copy_file", source=thing.value, destination=path)
    d.call("replace_text", path=thing.value, old=f"{name} = {number}", new=f"{name} = {new}")
    return d.say(
        "copy_and_edit",
        file=thing.words,
        path=quote(path),
        old=quote(f"{name} = {number}"),
        new=quote(f"{name} = {new}"),
    )


# Settings.


def set_value(d: Draft, ask: bool = False) -> str:
    thing, key = _setting(d)
    value = str(d.rng.randrange(1000, 9999))
    if ask:
        d.ask(
            "value",
            ("value", "number", "set to", "set it to", "how much", "how many"),
            d.say("reply_value", value=value),
        )
    d.call("set_setting", path=thing.value, key=key, value=value)
    return d.say("set_value_ask" if ask else "set_value", key=quote(key), file=thing.words, value=quote(value))


def copy_value(d: Draft) -> str:
    key = _common_key(d)
    source, target = some_file(d, d.project.ini), some_file(d, d.project.ini)
    if d.project.ini[source.path][key] == d.project.ini[target.path][key]:
        raise Infeasible("it has that value")
    found = d.call("get_setting", path=source.value, key=key)
    d.call("set_setting", path=target.value, key=key, value=found.at("value"))
    return d.say("copy_value", key=quote(key), file=target.words, other=source.words)


def rename_key(d: Draft, ask: bool = False) -> str:
    thing, key = _setting(d)
    name = d.take("key", d.words.new_keys)
    if ask:
        d.ask("new name", ("new name", "name", "called", "rename"), d.say("reply_name", name=quote(name)))
    d.call("rename_setting", path=thing.value, key=key, new_name=name)
    return d.say("rename_key_ask" if ask else "rename_key", key=quote(key), file=thing.words, name=quote(name))


def rename_key_everywhere(d: Draft) -> str:
    settings = d.project.ini
    key = _common_key(d)
    d.claim(*settings)
    name, folder = d.take("key", d.words.new_keys), d.project.layout.config
    found = d.call("list_files", folder=folder, name="*.ini")
    for place in _places(found, "files", settings):
        d.call("rename_setting", path=place, key=key, new_name=name)
    return d.say("rename_key_everywhere", key=quote(key), where=say_folder(d, folder), name=quote(name))


def drop_key(d: Draft) -> str:
    thing, key = _setting(d)
    d.call("delete_setting", path=thing.value, key=key)
    return d.say("drop_key", key=quote(key), file=thing.words)


def note_value(d: Draft) -> str:
    thing, key = _setting(d)
    path = f"{d.take('file name', d.words.file_names)}.txt"
    found = d.call("get_setting", path=thing.value, key=key)
    d.call("write_file", path=path, text=found.at("value"))
    return d.say("note_value", path=quote(path), key=quote(key), file=thing.words)


# Many files.


def clear_leftovers(d: Draft) -> str:
    ending = posixpath.splitext(d.pick(d.project.leftovers))[1]
    folder = d.rng.choice([".", *{top(path): None for path in d.project.leftovers}])
    files = [path for path in d.project.leftovers if folder in (".", top(path))]
    d.claim(*files)
    found = d.call("list_files", folder=folder, name=f"*{ending}")
    for place in _places(found, "files", files):
        d.call("delete_file", path=place)
    return d.say("clear_leftovers", where=say_folder(d, folder), ending=quote(ending))


def rename_function(d: Draft) -> str:
    old, new = d.take("function", d.project.functions), d.take("function", d.words.new_names)
    files = [path for path in d.project.files if path.endswith(".py") and old in d.text(path)]
    if any(re.search(rf"\w{old}|{old}\w", d.text(path)) for path in files):
        raise Infeasible("it is part of another name")
    d.claim(*files)
    found = d.call("find_text", text=old, folder=".", name="*.py")
    for place in _places(found, "matches", files):
        d.call("replace_text", path=place, old=old, new=new)
    return d.say("rename_function", old=quote(old), new=quote(new))


def prune_all(d: Draft) -> str:
    folder = d.pick(d.project.logs)
    level = d.rng.choice(LEVELS)
    files = [path for path in d.project.logs[folder] if level in d.text(path)]
    d.claim(*files)
    found = d.call("find_text", text=level, folder=folder)
    for place in _places(found, "matches", files):
        d.call("delete_lines", path=place, text=level)
    return d.say("prune_all", where=say_folder(d, folder), text=quote(level))


def archive(d: Draft) -> str:
    folder, target = (
        d.pick(d.project.logs),
        f"{d.rng.choice(d.words.archives)}/{d.take('file name', d.words.file_names)}",
    )
    files = d.project.logs[folder]
    d.claim(*files)
    found = d.call("list_files", folder=folder, name="*.log")
    for path, place in zip(sorted(files), _places(found, "files", files), strict=True):
        d.call("move_file", source=place, destination=f"{target}/{posixpath.basename(path)}")
    return d.say("archive", where=say_folder(d, folder), target=quote(target))


def merge(d: Draft) -> str:
    tables = d.project.tables
    d.claim(*tables)
    path = new_path(d, tables[0])
    folder, name = top(tables[0]), f"{d.project.table.name}-*.csv"
    found = d.call("list_files", folder=folder, name=name)
    places = _places(found, "files", tables)
    d.call("merge_tables", sources=places, destination=path)
    words = d.say("merge", where=say_folder(d, folder), start=quote(f"{d.project.table.name}-"), path=quote(path))
    if d.rng.random() < 0.5:
        return words
    for place in places:
        d.call("delete_file", path=place)
    return f"{words}, {d.say('merge_and_delete')}"


def join_some(d: Draft) -> str:
    things = [some_file(d, d.project.tables), some_file(d, d.project.tables)]
    path = new_path(d, things[0].path)
    d.call("merge_tables", sources=[thing.value for thing in things], destination=path)
    return d.say("join_some", first=things[0].words, second=things[1].words, path=quote(path))


# Commands.


def run_script(d: Draft) -> str:
    d.take("once", ["run"])
    script = d.pick(path for path in d.project.scripts if "/list-" in path)
    d.claim(script)
    d.call("run", command=f"sh {script}")
    return d.say("run_script", command=quote(f"sh {script}"))


def mend_and_run(d: Draft) -> str:
    d.take("once", ["run"])
    script = d.pick(path for path in d.project.scripts if "/list-" in path)
    d.claim(script)
    old = d.pick(re.findall(r"\w+\.txt$", d.text(script), re.MULTILINE))
    new = f"{d.take('file name', d.words.file_names)}.txt"
    d.call("replace_text", path=script, old=old, new=new)
    d.call("run", command=f"sh {script}")
    return d.say("mend_and_run", old=quote(old), new=quote(new), file=quote(script), command=quote(f"sh {script}"))


_PLACE = ("path", "where", "place", "folder", "destination", "to?", "name")
_TEXT = ("line", "text", "say", "write", "content", "add", "wording")

ACTS: tuple[Act, ...] = (
    *(move, move, copy, delete, append, write, make_executable, prune, copy_and_edit),
    *(set_value, copy_value, copy_value, rename_key, rename_key_everywhere, drop_key, note_value, note_value),
    *(clear_leftovers, rename_function, rename_function, prune_all, archive, merge, join_some),
    *(run_script, mend_and_run),
)
ASKABLE: tuple[Callable[[Draft, bool], str], ...] = (move, append, set_value, rename_key)


def _all_settings(d: Draft) -> dict[str, dict[str, str]]:
    return {**d.project.ini, **d.project.json}


def _common_key(d: Draft) -> str:
    """A setting that all .ini files have."""
    return d.pick(key for key in next(iter(d.project.ini.values())) if not key.startswith("paths"))


def _setting(d: Draft) -> tuple[Thing, str]:
    """A file of settings, and one that no file is named by."""
    thing = some_file(d, files_of(d, "ini", "json"))
    keys = [key for key in _all_settings(d)[thing.path] if "." in key and not key.startswith("paths")]
    return thing, d.pick(keys)


def _places(found: Found, key: str, files: Iterable[str]) -> list[Value]:
    """Where a look-up shows each file first, in order.

    Raises:
        Infeasible: It shows other files than those, too few to be worth it, or too many.
    """
    first: dict[str, int] = {}
    for place, record in enumerate(found.content[key]):
        first.setdefault(record["path"], place)
    if set(first) != set(files) or not 2 <= len(first) <= _MOST_AT_ONCE:
        raise Infeasible(f"{len(first)} files")
    return [found.at(key, place, "path") for place in first.values()]
