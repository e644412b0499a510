"""Argument types that tools share: text with a fixed format, kept as text, checked before the tool runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d", re.ASCII)


def _format(name: str, right: Callable[[str], bool]) -> AfterValidator:
    def check(value: str) -> str:
        if not right(value):
            raise ValueError(f"expected {name}")
        return value

    return AfterValidator(check)


def _is_date_time(value: str) -> bool:
    return bool(_DATE_TIME.fullmatch(value)) and _parses(datetime.fromisoformat, value)


def _is_date(value: str) -> bool:
    return bool(_DATE.fullmatch(value)) and _parses(date.fromisoformat, value)


def _is_time(value: str) -> bool:
    return bool(_TIME.fullmatch(value))


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


DateTime = Annotated[
    str,
    _format("YYYY-MM-DD HH:MM:SS", _is_date_time),
    Field(json_schema_extra={"format_hint": "YYYY-MM-DD HH:MM:SS"}),
]
"""A moment, `YYYY-MM-DD HH:MM:SS`."""

Date = Annotated[str, _format("YYYY-MM-DD", _is_date), Field(json_schema_extra={"format_hint": "YYYY-MM-DD"})]
"""A day, `YYYY-MM-DD`."""

TimeOfDay = Annotated[
    str,
    _format("HH:MM:SS", _is_time),
    Field(json_schema_extra={"format_hint": "HH:MM:SS"}),
]
"""A time of day, `HH:MM:SS`."""
