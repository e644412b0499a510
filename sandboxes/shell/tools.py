"""Tools on files: listing, reading, searching, writing, editing, moving. All but `run` need no process.

Paths are relative to the working folder; `/work/...` means the same. Results name paths in that form. What a tool
cannot do, it refuses in words that say what to do instead.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from tir_gym.errors import ToolError
from tir_gym.sandboxes.shell import comparing  # noqa: F401  the comparators named below
from tir_gym.sandboxes.shell.shell import Shell
from tir_gym.sandboxes.shell.tree import LARGEST_TEXT, WorkTree, shown
from tir_gym.tool import Toolkit, tool

MOST_LISTED = 500
"""Files and matches that one call shows; how many there are is said besides."""

LONGEST_LINE = 1000
"""Characters of a matching line that are shown."""


@tool(effect="write", scopes=("files",), comparators={"command": "command"})
def run(shell: Shell, command: str) -> str:
    """Run a shell command in the working folder and give back what it prints.

    The command has no network. Nothing stays when it ends but what it wrote in the working folder: no variable, no
    process, no file elsewhere.

    Args:
        command: A line or a script for bash.
    """
    return shell.execute(command)


@tool(scopes=("files",), comparators={"folder": "path"})
def list_files(tree: WorkTree, folder: str, name: str = "*") -> dict[str, Any]:
    """List the files in a folder and in all folders below it, sorted by path.

    Args:
        folder: The folder; "." is the working folder.
        name: Pattern that a file's own name must match, such as *.csv.
    """
    found = [(path, file) for path, file in tree.below(folder) if fnmatchcase(path.rpartition("/")[2], name)]
    files = [{"path": shown(path), "bytes": len(file.content)} for path, file in found[:MOST_LISTED]]
    return tree.rows({"count": len(found), "files": files}, "files")


@tool(scopes=("files",), comparators={"path": "path"})
def read_file(tree: WorkTree, path: str, first_line: int | None = None, last_line: int | None = None) -> dict[str, Any]:
    """Read a text file.

    Args:
        path: The file.
        first_line: Where to begin; 1 is the first line.
        last_line: Where to end, this line included.
    """
    place, text = tree.text(path)
    lines = text.splitlines(keepends=True)
    if first_line is not None or last_line is not None:
        text = "".join(lines[max((first_line or 1) - 1, 0) : last_line])
    return {"path": place, "lines": len(lines), "text": tree.bounded(text)}


@tool(scopes=("files",), comparators={"folder": "path"})
def find_text(tree: WorkTree, text: str, folder: str, name: str = "*") -> dict[str, Any]:
    """Find the lines that contain a text, as it stands, in a file or in all files of a folder and below it.

    Args:
        text: What to look for; upper and lower case differ.
        folder: The folder, or one file; "." is the working folder.
        name: Pattern that a file's own name must match, such as *.log.
    """
    if not text or "\n" in text:
        raise ToolError("give a text to look for, within one line")
    count, matches = 0, list[dict[str, Any]]()
    too_long = []
    for path, file in tree.below(folder):
        if not fnmatchcase(path.rpartition("/")[2], name):
            continue
        if len(file.content) > LARGEST_TEXT:
            too_long.append(shown(path))
            continue
        if file.text is None or text not in file.text:
            continue
        for number, line in enumerate(file.text.splitlines(), start=1):
            if text in line:
                count += 1
                if len(matches) < MOST_LISTED:
                    matches.append({"path": shown(path), "line": number, "text": line[:LONGEST_LINE]})
    found: dict[str, Any] = {"count": count, "matches": matches}
    return tree.rows({**found, "too_long_to_search": too_long[:MOST_LISTED]} if too_long else found, "matches")


@tool(effect="write", scopes=("files",), comparators={"path": "path", "text": "lines"})
def write_file(tree: WorkTree, path: str, text: str) -> dict[str, Any]:
    """Write a file, in place of what it held; folders above it are made.

    Args:
        path: The file.
        text: All that it shall hold.
    """
    tree.claim(path)
    return {"path": tree.put(path, text)}


@tool(effect="write", scopes=("files",), comparators={"path": "path", "text": "lines"})
def append_text(tree: WorkTree, path: str, text: str) -> dict[str, Any]:
    """Add lines to the end of a text file.

    Args:
        path: The file, which must be there.
        text: One line or several; a line break at the end is added where it is missing.
    """
    place, old = tree.text(path)
    glue = "" if not old or old.endswith("\n") else "\n"
    tree.put(place, f"{old}{glue}{text}" + ("" if text.endswith("\n") else "\n"))
    return {"path": place}


@tool(effect="write", scopes=("files",), comparators={"path": "path"})
def replace_text(tree: WorkTree, path: str, old: str, new: str) -> dict[str, Any]:
    """Replace a text wherever it stands in a file.

    Args:
        path: The file.
        old: What to replace; upper and lower case differ.
        new: What to put in its place.
    """
    place, text = tree.text(path)
    count = text.count(old) if old else 0
    if not count:
        raise ToolError(f"{path} does not contain that text; read the file and give it as it stands there")
    tree.must_fit(len(text) + count * (len(new) - len(old)))
    tree.put(place, text.replace(old, new))
    return {"path": place, "replaced": count}


@tool(effect="write", scopes=("files",), comparators={"path": "path"})
def delete_lines(tree: WorkTree, path: str, text: str) -> dict[str, Any]:
    """Delete every line of a file that contains a text.

    Args:
        path: The file.
        text: What to look for; upper and lower case differ.
    """
    place, content = tree.text(path)
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if text not in line] if text else lines
    if len(kept) == len(lines):
        raise ToolError(f"no line of {path} contains that text")
    tree.put(place, "".join(kept))
    return {"path": place, "deleted": len(lines) - len(kept)}


@tool(effect="write", scopes=("files",), comparators={"source": "path", "destination": "path"})
def move_file(tree: WorkTree, source: str, destination: str) -> dict[str, Any]:
    """Move or rename a file; folders above the new place are made.

    Args:
        source: The file.
        destination: Its new path, the file's own name included; nothing may be there.
    """
    place = _copied(tree, source, destination)
    tree.remove(source)
    return {"path": place}


@tool(effect="write", scopes=("files",), comparators={"source": "path", "destination": "path"})
def copy_file(tree: WorkTree, source: str, destination: str) -> dict[str, Any]:
    """Copy a file; folders above the new place are made.

    Args:
        source: The file.
        destination: Path of the copy, the file's own name included; nothing may be there.
    """
    return {"path": _copied(tree, source, destination)}


@tool(effect="irreversible", scopes=("files",), comparators={"path": "path"})
def delete_file(tree: WorkTree, path: str) -> dict[str, Any]:
    """Delete a file.

    Args:
        path: The file.
    """
    tree.claim(path)
    tree.remove(path)
    return {"deleted": path}


@tool(effect="write", scopes=("files",), comparators={"path": "path"})
def set_executable(tree: WorkTree, path: str, executable: bool) -> dict[str, Any]:
    """Make a file executable, or no longer so.

    Args:
        path: The file.
        executable: Whether it shall be.
    """
    place, file = tree.file(path)
    tree.put(place, file.content, executable)
    return {"path": place, "executable": executable}


SHELL_TOOLS = Toolkit(
    [
        run,
        list_files,
        read_file,
        find_text,
        write_file,
        append_text,
        replace_text,
        delete_lines,
        move_file,
        copy_file,
        delete_file,
        set_executable,
    ]
)


def _copied(tree: WorkTree, source: str, destination: str) -> str:
    _, file = tree.file(source)
    if tree.place(destination) in tree.tree:
        raise ToolError(f"{destination} is already there; give the full path of the new file")
    return tree.put(destination, file.content, file.executable)
