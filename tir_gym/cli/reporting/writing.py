"""A report as files, one per form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tir_gym.cli.printing import without_nan
from tir_gym.cli.reporting.document import document
from tir_gym.cli.reporting.html import html
from tir_gym.cli.reporting.markdown import markdown

if TYPE_CHECKING:
    from tir_gym.cli.reporting.contents import Report


def as_json(report: Report) -> str:
    """The report as one JSON document, in ASCII."""
    return json.dumps(without_nan(document(report)), indent=2, allow_nan=False) + "\n"


FORMS: dict[str, Callable[[Report], str]] = {"html": html, "md": markdown, "json": as_json}
"""How a report is written, by the suffix of the file."""


def write_report(report: Report, file: Path, form: str | None = None) -> None:
    """Write a report.

    Args:
        report: What to write.
        file: Where to; its folders are made.
        form: A name from `FORMS`; by default the one that the file's suffix names, or a page.
    """
    form = form or file.suffix.removeprefix(".")
    file.parent.mkdir(parents=True, exist_ok=True)
    text = FORMS.get(form, html)(report)
    file.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
