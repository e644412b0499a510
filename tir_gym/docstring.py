"""Google-style docstrings: the summary, and what the `Args:` section says of each argument."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?|Attributes):\s*$")
_ARGUMENT = re.compile(r"^(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")


@dataclass(frozen=True)
class Docstring:
    summary: str = ""
    """Everything before the first section, paragraphs kept."""
    arguments: dict[str, str] = field(default_factory=dict)


def parse_docstring(text: str | None) -> Docstring:
    """Split a docstring into its description and the descriptions of its arguments; other sections are dropped."""
    if not text:
        return Docstring()
    lines = inspect.cleandoc(text).splitlines()
    starts = [i for i, line in enumerate(lines) if _SECTION.match(line)]
    summary = "\n".join(lines[: starts[0]] if starts else lines).strip()
    arguments: dict[str, str] = {}
    for start in starts:
        if lines[start].rstrip().rstrip(":") in ("Args", "Arguments", "Parameters"):
            end = next((i for i in starts if i > start), len(lines))
            arguments.update(_arguments(lines[start + 1 : end]))
    return Docstring(_unwrap(summary), arguments)


def _arguments(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    name = None
    for line in lines:
        match = _ARGUMENT.match(line.strip()) if len(line) - len(line.lstrip()) == indent else None
        if match:
            name = match[1].lstrip("*")
            found[name] = match[2].strip()
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _unwrap(text: str) -> str:
    """Join the wrapped lines of each paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip())
