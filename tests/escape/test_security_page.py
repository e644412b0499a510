"""`docs/security.md` names exactly the attacks that there are."""

from __future__ import annotations

import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")

from escape.table import BEGIN, COLUMNS, END, PAGE, about, shown


@pytest.mark.parametrize("table", COLUMNS)
def test_the_page_names_every_attack(table: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = shown(text.split(BEGIN.format(table))[1].split(END.format(table))[0], COLUMNS[table])
    assert sorted({name for name, _ in rows}) == sorted(about()[table]), "run tests/escape/table.py"
    for name, sentence in about()[table].items():
        assert f"| `{name}` | {sentence} |" in text
