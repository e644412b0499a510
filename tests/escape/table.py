"""Writes the results of the attacks into `docs/security.md`, from what pytest has reported.

    pytest tests/escape --junitxml=build/escape.xml
    TIR_GYM_ENGINES=docker make test-container ARGS=--junitxml=$PWD/build/docker.xml
    make test-postgres ARGS=--junitxml=$PWD/build/postgres.xml
    python tests/escape/table.py build/escape.xml docker=build/docker.xml build/postgres.xml

What a report does not tell stays as it is on the page.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTS))

from escape.cases import CASES  # noqa: E402
from escape.sql_cases import POSTGRES, SQLITE  # noqa: E402

PAGE = TESTS.parent / "docs" / "security.md"
BEGIN, END = "<!-- {} begin: written by tests/escape/table.py -->", "<!-- {} end -->"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "code": ("no protection", "jail A, root", "jail A, user", "jail B, user", "docker", "podman"),
    "sql": ("no protection", "sandbox"),
    "mcp": ("no protection", "free", "jailed"),
}
"""Table -> what is attacked."""
Cell = tuple[str, str, str]
"""Table, case and column."""


def about() -> Mapping[str, Mapping[str, str]]:
    """Table -> case -> what it attacks."""
    from escape.test_mcp_attacks import CASES as MCP

    return {
        "code": {case.name: case.about for case in CASES},
        "sql": {case.name: _sentence(case.about) for case in (*SQLITE, *POSTGRES)},
        "mcp": {case.name: _sentence(case.about) for case in MCP},
    }


def results(report: Path, engine: str | None) -> dict[Cell, str]:
    """What a report of pytest says, by cell."""
    found: dict[Cell, str] = {}
    for test in ElementTree.parse(report).iter("testcase"):
        cell = _cell(test.get("classname", ""), test.get("name", ""), engine)
        if cell is not None:
            found[cell] = _outcome(test, control=cell[2] == "no protection")
    return found


def write(found: Mapping[Cell, str]) -> None:
    """Put results into the page."""
    text = PAGE.read_text(encoding="utf-8")
    for table, cases in about().items():
        begin, end = BEGIN.format(table), END.format(table)
        before, rest = text.split(begin)
        old, after = rest.split(end)
        known = shown(old, COLUMNS[table])
        lines = [f"| attack | what it does | {' | '.join(COLUMNS[table])} |", "|---" * (len(COLUMNS[table]) + 2) + "|"]
        for name, text_of in cases.items():
            cells = [found.get((table, name, column), known.get((name, column), "")) for column in COLUMNS[table]]
            lines.append(f"| `{name}` | {text_of} | {' | '.join(cells)} |")
        text = before + begin + "\n" + "\n".join(lines) + "\n" + end + after
    PAGE.write_text(text, encoding="utf-8")


def shown(table: str, columns: Iterable[str]) -> dict[tuple[str, str], str]:
    """Case and column -> what a table of the page says."""
    found = {}
    for line in table.splitlines():
        fields = [field.strip() for field in line.strip().strip("|").split(" | ")]
        name = re.fullmatch(r"`(\w+)`", fields[0])
        if name is not None:
            found.update(
                {(name[1], column): field.strip(" |") for column, field in zip(columns, fields[2:], strict=False)}
            )
    return found


def _cell(module: str, name: str, engine: str | None) -> Cell | None:
    test, _, rest = name.rstrip("]").partition("[")
    attack = test == "test_attack_fails"
    if module.endswith("test_escape") and attack:
        backend, _, rest = rest.rpartition("-")[0], None, rest.rpartition("-")[2]
        columns = {"jail-A-root": 1, "jail-A-user": 2, "jail-B-user": 3}
        if backend.startswith("container"):
            return ("code", rest, engine) if engine else None
        return ("code", rest, COLUMNS["code"][columns[backend]]) if backend in columns else None
    if module.endswith("test_escape") and test == "test_probe_gets_through_where_nothing_protects":
        return None if engine else ("code", rest, "no protection")
    if module.endswith("test_sql_attacks"):
        return "sql", rest, "sandbox" if attack else "no protection"
    if module.endswith("test_mcp_attacks"):
        return ("mcp", *rest.split("-")) if attack else ("mcp", rest, "no protection")  # type: ignore[return-value]
    return None


def _outcome(test: ElementTree.Element, *, control: bool) -> str:
    skipped = test.find("skipped")
    if test.find("failure") is not None or test.find("error") is not None:
        return "probe broken" if control else "**through**"
    if skipped is not None:
        return "**open**" if "xfail" in (skipped.get("type") or "") else "not run"
    return "through" if control else "held"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    told: dict[Cell, str] = {}
    for argument in sys.argv[1:]:
        engine_name, _, path = argument.rpartition("=")
        told |= results(Path(path), engine_name or None)
    write(told)
