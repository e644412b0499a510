"""The search that the mailbox and the messages share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from tir_gym.errors import ToolError

MatchType: TypeAlias = Literal["any", "all"]

MOST_RESULTS = 5


def newest_matches(
    records: Iterable[Any],
    *,
    now: str,
    date_field: str,
    text_fields: tuple[str, ...],
    query: str | None,
    match_type: MatchType,
    sender: str | None,
    start_date: str | None,
    end_date: str | None,
) -> list[Any]:
    """The records that pass every filter given, newest first, five at most. What lies in the future is not seen.

    A keyword is found where it stands anywhere in one of the texts, inside of words too, whatever the case.

    Args:
        records: The user's own mails or messages.
        now: The clock, `YYYY-MM-DD HH:MM:SS`; dates of that form compare as text.
        date_field: Field of the date.
        text_fields: Fields that keywords are looked for in.
        query: Keywords, separated by white space.
        match_type: Whether one keyword is enough or all must be found.
        sender: Exact sender.
        start_date: Earliest date.
        end_date: Latest date.

    Raises:
        ToolError: No filter is given, or the dates are the wrong way round.
    """
    if query is None and sender is None and start_date is None and end_date is None:
        raise ToolError("Give at least one of query, sender, start_date and end_date.")
    if start_date is not None and end_date is not None and start_date > end_date:
        raise ToolError("start_date must not be after end_date.")
    latest = now if end_date is None else min(now, end_date)
    keywords = query.lower().split() if query else []
    enough = any if match_type == "any" else all
    found = []
    for record in records:
        date = record[date_field]
        if date > latest or (start_date is not None and date < start_date):
            continue
        if sender is not None and record["sender"] != sender:
            continue
        if keywords:
            texts = [record[field].lower() for field in text_fields]
            if not enough(any(keyword in text for text in texts) for keyword in keywords):
                continue
        found.append(record)
    found.sort(key=lambda record: record[date_field], reverse=True)
    return found[:MOST_RESULTS]
