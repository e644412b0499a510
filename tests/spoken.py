"""Days and times in words, as requests and mails have them; not by the code that words them."""

from __future__ import annotations

from datetime import datetime


def spoken_day(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%A, %B ") + str(int(moment[8:10]))


def spoken_time(clock: str) -> str:
    return datetime.strptime(clock[:5], "%H:%M").strftime("%I:%M %p").lstrip("0").lower()
