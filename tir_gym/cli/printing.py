"""What commands print: rich tables on a terminal, aligned plain text when piped, one JSON document for machines."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

# Control characters, separators of lines that only some programs obey, what turns the direction of text, and halves of
# characters, which no file in UTF-8 can hold.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Text from a trace or a model, safe on a terminal and a page: control characters are shown, not obeyed."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def say(text: str = "") -> None:
    """A line on stdout."""
    print(printable(text))


def note(text: str) -> None:
    """A line beside the result: on stderr, so that stdout holds the result alone."""
    print(printable(text), file=sys.stderr)


def heading(text: str) -> None:
    """A line that stands out on a terminal."""
    _styled(text, "bold")


def error_line(text: str) -> None:
    """`error: ...` on stderr, one line, red on a terminal."""
    line = f"error: {' '.join(printable(text).split())}"
    print(f"\x1b[31m{line}\x1b[0m" if sys.stderr.isatty() else line, file=sys.stderr)


def print_json(document: Any) -> None:
    """One JSON document, in ASCII; what JSON cannot say (NaN, infinity) is null."""
    print(json.dumps(without_nan(document), indent=2, allow_nan=False))


def without_nan(value: Any) -> Any:
    """JSON data in which NaN and infinities, which JSON cannot say, are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> None:
    """A table.

    Args:
        columns: Heads.
        rows: Cells; numbers are set to the right, `None` is a dash.
        title: A line above it.
    """
    cells = [list(row) for row in rows]
    if sys.stdout.isatty():
        _print_rich(columns, cells, title)
    else:
        _print_plain(columns, cells, title)


def percent(share: float | None) -> str:
    """`0.1234` as `12.3%`; a dash for what is not known."""
    return "-" if share is None or math.isnan(share) else f"{share:.1%}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with at most that many decimals; a dash for what is not known."""
    text = fixed(value, digits)
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: float | None, digits: int) -> str:
    """A figure with that many decimals, so that a column's points stand under each other; a dash as above."""
    if value is None or math.isnan(value):
        return "-"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # adding 0.0 makes -0.0 a plain 0


def count(n: int, thing: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


class Ticker(Protocol):
    """Counts on a progress bar."""

    def __call__(self, text: str = "") -> None: ...


@contextmanager
def progress(label: str, total: int | None, done: int = 0) -> Iterator[Ticker]:
    """A progress bar on stderr while the block runs, on a terminal; nothing elsewhere. Yields what advances it."""
    if not sys.stderr.isatty():
        yield lambda text="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda text="": bar.update(task, advance=1, description=f"{label} {text}".rstrip())


def _styled(text: str, style: str) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text

        Console().print(Text(printable(text), style=style))
    else:
        say(text)


def _print_rich(columns: Sequence[str], rows: list[list[Any]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if _is_numeric(row[i] for row in rows) else "left")
    for row in rows:
        table.add_row(*[Text(_cell(value)) for value in row])
    Console().print(table)


def _print_plain(columns: Sequence[str], rows: list[list[Any]], title: str) -> None:
    if title:
        say(title)
    right = [_is_numeric(row[i] for row in rows) for i in range(len(columns))]
    lines = [list(columns), *[[_cell(value).replace("\n", " ") for value in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(line, widths, right, strict=True)]
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else printable(str(value))


def _is_numeric(values: Iterable[Any]) -> bool:
    filled = [value for value in values if value not in (None, "-", "")]
    return bool(filled) and all(isinstance(value, (int, float, str)) and _is_number(value) for value in filled)


def _is_number(value: int | float | str) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value.removesuffix("%") if isinstance(value, str) else value)
    except ValueError:
        return False
    return True
