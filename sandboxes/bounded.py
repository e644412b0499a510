"""Lists that tools of this process give back, cut to what one call may give back. Code's output is cut in its slot."""

from __future__ import annotations

import json
from typing import Any

from tir_gym.errors import OutputLimit


def bounded(found: dict[str, Any], rows: str, most: int) -> dict[str, Any]:
    """The result, where it is small enough.

    Args:
        found: A tool's result, plain data.
        rows: Name of the list in it that may be long.
        most: Bytes that a call may give back, counted as JSON.

    Raises:
        OutputLimit: It is larger; with as many rows as fit.
    """
    frame = _size({**found, rows: []})
    size, kept = frame - len(", "), 0
    for row in found[rows]:
        size += len(", ") + _size(row)
        if size > most:
            break
        kept += 1
    if frame <= most and kept == len(found[rows]):
        return found
    raise OutputLimit(
        f"more than {most} bytes: {kept} of {len(found[rows])} {rows} are shown",
        content={**found, rows: found[rows][:kept]} if frame <= most else None,
    )


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
