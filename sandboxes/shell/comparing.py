"""When are two paths, two texts of a file or two commands the same? Comparators by name.

| name | a predicted value equals the gold value when |
|---|---|
| `path` | both name the same place from the working folder: `./a//b`, `/work/a/b` and `a/b` |
| `lines` | both hold the same lines; white space at the ends of lines and of the text does not count |
| `command` | both have the same words, quoting aside; `sh`, `bash` and `./` before a script's path do not count |
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable
from typing import Any

from tir_gym.compare import register_comparator


def _path(value: str) -> str:
    return posixpath.normpath(posixpath.join("/work", value))


def _lines(value: str) -> list[str]:
    return [line.rstrip() for line in value.rstrip().splitlines()]


def _command(value: str) -> list[str]:
    words = shlex.split(value)
    if len(words) > 1 and words[0] in ("sh", "bash") and not words[1].startswith("-"):
        words = words[1:]
    return [words[0].removeprefix("./").removeprefix("/work/"), *words[1:]] if words else []


def _by(form: Callable[[str], Any]) -> Callable[[Any, Any], bool]:
    def same(a: Any, b: Any) -> bool:
        if not isinstance(a, str) or not isinstance(b, str):
            return False
        if a == b:
            return True
        try:
            return bool(form(a) == form(b))
        except ValueError:  # an open quotation
            return False

    return same


for _name, _form in (("path", _path), ("lines", _lines), ("command", _command)):
    register_comparator(_name, _by(_form))
