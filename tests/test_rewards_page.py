"""`docs/rewards.md` is computed, not told: its blocks run in order, and their assertions are the page's numbers."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "rewards.md"


def test_every_number_on_the_page_is_what_the_code_gives() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    script = "".join(blocks)
    assert script.count("assert ") >= 12
    exec(compile(script, str(PAGE), "exec"), {"__name__": "rewards_page"})
