"""The tools of the Files family: those of the shell, and some for settings and tables.

Settings are those of `.ini` files (`section.key`) and of `.json` files (`key`, or `outer.inner`). A setting is changed
in its place; everything else in the file stays as it is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from tir_gym.errors import ToolError
from tir_gym.sandboxes.shell import SHELL_TOOLS, WorkTree
from tir_gym.sandboxes.shell.tools import MOST_LISTED
from tir_gym.tool import Toolkit, tool

_SECTION = re.compile(r"\[([^\]]+)\]\s*")
_DEEPEST = 20
_SETTING = re.compile(r"([^=\s;#][^=]*?)(\s*=\s*)(.*?)\s*")


@tool(scopes=("files",), comparators={"path": "path"})
def get_setting(tree: WorkTree, path: str, key: str) -> dict[str, str]:
    """Look up one setting of an .ini or .json file.

    Args:
        path: The file.
        key: Name of the setting with its section, such as server.port.
    """
    place, text = tree.text(path)
    found = dict(_settings(place, text))
    if key not in found:
        raise _no_setting(path, key, found)
    return {"path": place, "key": key, "value": found[key]}


@tool(effect="write", scopes=("files",), comparators={"path": "path"})
def set_setting(tree: WorkTree, path: str, key: str, value: str) -> dict[str, str]:
    """Give a setting of an .ini or .json file another value.

    Args:
        path: The file.
        key: Name of the setting with its section, such as server.port; it must be there.
        value: The new value.
    """
    if "\n" in value:
        raise ToolError("a value is one line")
    place, text = tree.text(path)
    tree.put(place, _changed(place, text, key, value=value))
    return {"path": place, "key": key, "value": value}


@tool(effect="write", scopes=("files",), comparators={"path": "path"})
def rename_setting(tree: WorkTree, path: str, key: str, new_name: str) -> dict[str, str]:
    """Rename a setting of an .ini or .json file; its value, its section and its place stay.

    Args:
        path: The file.
        key: Name of the setting with its section, such as server.port.
        new_name: The new name, without the section.
    """
    if not re.fullmatch(r"[\w-]+", new_name):
        raise ToolError("a name has letters, digits, _ and -; leave the section out")
    place, text = tree.text(path)
    new_key = ".".join([*key.split(".")[:-1], new_name])
    if new_key in dict(_settings(place, text)):
        raise ToolError(f"{path} has a setting {new_key} already")
    tree.put(place, _changed(place, text, key, name=new_name))
    return {"path": place, "key": new_key}


@tool(effect="write", scopes=("files",), comparators={"path": "path"})
def delete_setting(tree: WorkTree, path: str, key: str) -> dict[str, str]:
    """Delete a setting of an .ini or .json file.

    Args:
        path: The file.
        key: Name of the setting with its section, such as server.port.
    """
    place, text = tree.text(path)
    tree.put(place, _changed(place, text, key, delete=True))
    return {"path": place, "key": key}


@tool(scopes=("files",), comparators={"path": "path"}, raises=(csv.Error,))
def select_rows(tree: WorkTree, path: str, column: str, value: str) -> dict[str, Any]:
    """Show the rows of a CSV file that have a value in a column.

    Args:
        path: The file; its first line names the columns.
        column: Name of the column.
        value: The value, as it stands in the file.
    """
    _, text = tree.text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if column not in (reader.fieldnames or ()):
        raise ToolError(
            f"{path} has no column {column}; its columns are {', '.join(reader.fieldnames or ()) or 'none'}"
        )
    rows = [{name: cell for name, cell in row.items() if name} for row in reader if row[column] == value]
    return tree.rows({"count": len(rows), "rows": rows[:MOST_LISTED]}, "rows")


@tool(effect="write", scopes=("files",), comparators={"destination": "path"})
def merge_tables(tree: WorkTree, sources: list[str], destination: str) -> dict[str, Any]:
    """Write the rows of CSV files with the same columns into one new file, the columns' names once on top.

    Args:
        sources: The files, in the order in which their rows shall stand.
        destination: The new file; nothing may be there.
    """
    if not sources:
        raise ToolError("give at least one file to take rows from")
    if tree.place(destination) in tree.tree:
        raise ToolError(f"{destination} is already there; give the path of a new file")
    texts = [tree.text(source)[1] for source in sources]
    tree.must_fit(sum(map(len, texts)))
    lines: list[str] = []
    for source, text in zip(sources, texts, strict=True):
        head, *rows = text.splitlines() or [""]
        if not lines:
            lines.append(head)
        if head != lines[0]:
            raise ToolError(f"{source} has other columns than {sources[0]}")
        lines += rows
    return {"path": tree.put(destination, "".join(f"{line}\n" for line in lines)), "rows": len(lines) - 1}


TOOLKIT = Toolkit(
    [
        *SHELL_TOOLS.values(),
        get_setting,
        set_setting,
        rename_setting,
        delete_setting,
        select_rows,
        merge_tables,
    ]
)


def _settings(path: str, text: str) -> Iterator[tuple[str, str]]:
    """The settings of a file, by name.

    Raises:
        ToolError: It is no file of settings.
    """
    if path.endswith(".json"):
        for steps, value in _leaves((), _json(path, text)):
            yield ".".join(steps), value if isinstance(value, str) else json.dumps(value)
        return
    for _, key, match in _ini_lines(path, text):
        if match is not None:
            yield key, match[3]


def _leaves(steps: tuple[str, ...], data: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if len(steps) > _DEEPEST:
        raise ToolError(f"settings are nested more than {_DEEPEST} deep; use the tools for text")
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves((*steps, key), value)
        else:
            yield (*steps, key), value


def _ini_lines(path: str, text: str) -> Iterator[tuple[str, str, re.Match[str] | None]]:
    """Each line, with the key of the setting that it holds."""
    if not path.endswith((".ini", ".json")):
        raise ToolError(f"{path} is no file of settings: those end in .ini or .json; use the tools for text")
    section = ""
    for line in text.splitlines(keepends=True):
        head = _SECTION.fullmatch(line)
        section = f"{head[1]}." if head else section
        match = None if head else _SETTING.fullmatch(line)
        yield line, f"{section}{match[1]}" if match else "", match


def _changed(
    path: str, text: str, key: str, *, value: str | None = None, name: str | None = None, delete: bool = False
) -> str:
    """The file's text with one setting changed, renamed or deleted."""
    found = dict(_settings(path, text))
    if key not in found:
        raise _no_setting(path, key, found)
    if path.endswith(".json"):
        data = inner = _json(path, text)
        *above, last = next(steps for steps, _ in _leaves((), data) if ".".join(steps) == key)
        for step in above:
            inner = inner[step]
        items = list(inner.items())
        inner.clear()
        for this, old in items:
            if this != last:
                inner[this] = old
            elif not delete:
                inner[name or this] = old if value is None else _as(old, value)
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    lines = []
    for line, this, match in _ini_lines(path, text):
        if match is None or this != key:
            lines.append(line)
        elif not delete:
            end = line[len(line.rstrip("\r\n")) :]
            lines.append(f"{name or match[1]}{match[2]}{match[3] if value is None else value}{end}")
    return "".join(lines)


def _as(old: Any, value: str) -> Any:
    """The new value, text where the old one is text, else read as JSON where it can be."""
    if isinstance(old, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _json(path: str, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise ToolError(f"{path} does not hold a JSON object")
    return data


def _no_setting(path: str, key: str, found: dict[str, str]) -> ToolError:
    names = ", ".join(list(found)[:30]) or "none"
    return ToolError(f"{path} has no setting {key}; its settings are: {names}")
