"""Rows of rewards for the tests of advantages: how they are drawn, and how they are padded."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

# Rewards of few values, so that ties and groups without spread are common.
rewards = st.sampled_from([0.0, 1.0, 0.1, 0.2, 0.3, -0.05]) | st.floats(-2, 2).map(lambda x: round(x, 3))


def padded(rows: list[list[Any]], fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Ragged rows as a rectangle, at least one column wide, and which entries are theirs."""
    width = max([1, *map(len, rows)])
    found, mask = np.full((len(rows), width), float(fill)), np.zeros((len(rows), width), dtype=bool)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
        mask[i, : len(row)] = True
    return found, mask
