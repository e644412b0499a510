"""JSON as text that every database keeps: pure ASCII, so that a NUL and a lone surrogate travel as escapes.

NaN and infinities are written as Python writes them. The one thing that does not come back as it was is a pair of
surrogates that stand side by side as two characters: JSON has no other spelling for the character they make.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError

from tir_gym.errors import UsageError
from tir_gym.records import TRACE_VERSION, Trace

_encode = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode
_UNKEPT = re.compile("[\x00\ud800-\udfff]")


def to_text(value: Any) -> str:
    """JSON data as ASCII text with sorted keys.

    Raises:
        TypeError: Not JSON data.
    """
    return _encode(value)


def trace_to_text(trace: Trace) -> str:
    """A trace as text; `trace_from_text` gives an equal trace, `canonical()` included."""
    return to_text(trace.model_dump())


def trace_from_text(text: str) -> Trace:
    """Read a trace.

    Raises:
        UsageError: No trace, or one of a newer version.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise UsageError(f"no JSON: {error}") from None
    return trace_from_data(data)


def trace_from_data(data: Any) -> Trace:
    """Read a trace from JSON data. Errors as `trace_from_text`."""
    version = data.get("version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > TRACE_VERSION:
        raise UsageError(f"trace version {version} is newer than {TRACE_VERSION}; upgrade tir-gym to read it")
    try:
        trace = Trace.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(str(part) for part in first["loc"])
        raise UsageError(f"no trace: {where}: {first['msg']}") from None
    except TypeError as error:  # of the records that are made by a call of their own: a field missing, or unknown
        raise UsageError(f"no trace: {error}") from None
    for number, turn in enumerate(trace.turns):
        if len(turn.results) != len(turn.calls):
            raise UsageError(f"no trace: turns/{number}: {len(turn.results)} results for {len(turn.calls)} calls")
    return trace


def readable(text: str) -> str:
    """Text for people and queries: the characters that databases refuse are shown as escapes."""
    return _UNKEPT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
