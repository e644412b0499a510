"""Requests that cannot be done: what they need is not there, or no tool can do it.

Each makes the look-ups that show it, notes them as the reason, and gives the words of the request. They are short: who
refuses without looking should not be right about much work.
"""

from __future__ import annotations

from collections.abc import Callable

from tir_gym.envs.files.draft import Draft
from tir_gym.envs.files.finders import files_of, new_path, say_folder, some_file, top
from tir_gym.envs.writing.draft import Found, Infeasible, quote


def no_such_ticket(d: Draft) -> str:
    path = d.pick(files_of(d, "page", "log", "source"))
    folder, ticket = top(path), d.ticket()
    _because(d, d.call("find_text", text=ticket, folder=folder), "matches")
    words = d.say("file_by_ticket", ticket=quote(ticket), where=say_folder(d, folder))
    return d.say("move", file=words, path=quote(new_path(d, path)))


def no_such_name(d: Draft) -> str:
    path = d.pick(files_of(d, "page", "table", "source"))
    folder, name = top(path), new_path(d, path).rpartition("/")[2]
    _because(d, d.call("list_files", folder=folder, name=name), "files")
    return d.say("delete", file=d.say("file_by_name", name=quote(name), where=say_folder(d, folder)))


def no_such_setting(d: Draft) -> str:
    thing, key = some_file(d, d.project.ini, plain=True), d.take("key", d.words.new_keys)
    _because(d, d.call("find_text", text=key, folder=thing.value), "matches")
    return d.say("drop_key", key=quote(key), file=thing.words)


def no_such_text(d: Draft) -> str:
    thing, name = some_file(d, files_of(d, "source"), plain=True), d.take("function", d.words.new_names)
    _because(d, d.call("find_text", text=name, folder=thing.value), "matches")
    new = d.take("function", d.words.new_names)
    return d.say("replace", file=thing.words, old=quote(name), new=quote(new))


def no_tool(d: Draft) -> str:
    """Nothing to look up: none of the tools does such a thing."""
    d.because = ()
    thing = some_file(d, files_of(d, "page", "table", "log"), plain=True)
    return d.say("no_tool", file=thing.words, person=d.pick(d.words.people))


REFUSALS: tuple[Callable[[Draft], str], ...] = (
    *(no_such_ticket, no_such_ticket, no_such_name, no_such_setting, no_such_text),
)


def _because(d: Draft, found: Found, key: str) -> None:
    ref = found.at(key).ref
    if found.content[key] or ref is None:
        raise Infeasible("there is one")
    d.because = (ref,)
