"""How a person says days, times and lists. English whatever the locale, which is why `calendar` is no help."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def say_day(day: date) -> str:
    """`Tuesday, March 4`."""
    return f"{WEEKDAYS[day.weekday()]}, {MONTHS[day.month - 1]} {day.day}"


def say_time(moment: time) -> str:
    """`7:30 am`."""
    return f"{(moment.hour - 1) % 12 + 1}:{moment.minute:02d} {'am' if moment.hour < 12 else 'pm'}"


def say_list(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def tidy(sentence: str) -> str:
    """Without the full stop after a quotation that ends with one of its own."""
    return sentence.replace('.".', '."').replace('?".', '?"')
