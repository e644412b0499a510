"""JSON texts of a few hundred characters: what `json` gives for them, in less time. `long_json.py` is for long ones.

A step reads and writes several, and what `json` does around each takes as long as reading it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json


def read_short(text: str) -> Any:
    """What `json.loads` gives.

    Raises:
        json.JSONDecodeError: No JSON.
        ValueError: A number with too many digits.
        RecursionError: Nested too deeply.
    """
    try:
        return from_json(text)
    except (ValueError, TypeError):  # not JSON, or JSON with lone surrogates, which agents do send
        return json.loads(text)


def writer(*, ensure_ascii: bool, separators: tuple[str, str] = (", ", ": ")) -> Callable[[Any], str]:
    """A function that gives what `json.dumps` gives, for data without circles, with its encoder made once.

    Args:
        ensure_ascii: As for `json.dumps`.
        separators: Likewise.
    """
    plain = json.JSONEncoder(ensure_ascii=ensure_ascii, check_circular=False, separators=separators)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter without the C encoder
        return plain.encode
    text = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
    between, after_key = separators
    write = make(None, plain.default, text, None, after_key, between, False, False, True)
    return lambda value: "".join(write(value, 0))
