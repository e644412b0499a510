"""What a statement for PostgreSQL says at first sight: its words, which tables it names, and whether it may be run.

This is no parser. It splits the text into tokens as the server does, and refuses what has no place in a sandbox
before the server sees it. What it lets through runs as a role that may do little, and is ended by the host in time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tir_gym.errors import ToolError

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n\r]*)
    | (?P<comment>/\*)
    | (?P<unicode>[uU]&["'])
    | (?P<text>[eE]'(?:[^'\\]|\\.|'')*'|(?:[bBxXnN])?'(?:[^']|'')*')
    | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*|\.\d[\w.]*|\$\d+)
    | (?P<end>;)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_BORDER = re.compile(r"/\*|\*/")

_READING = {"select", "with", "values", "table", "explain"}
_CHANGING = {"insert", "update", "delete"}
_DEFINING = {"create", "alter", "drop"}
_DEFINED = {"table", "index", "unique", "view", "or"}
_DENIED = re.compile(
    r"""pg_.*|lo_.*|dblink.*|txid_.*|crosstab.*|.*_to_xml.*|set_config|current_setting|ts_stat|ts_rewrite|xpath_table
    |nextval|setval|currval|lastval|setseed|temp|temporary|unlogged|tablespace|copy""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Reading:
    """What a statement says at first sight."""

    sql: str
    """The statement without what follows it."""
    first: str
    """Its first word, in small letters."""
    names: frozenset[str]
    """Words and quoted names in it, words in small letters."""

    @property
    def explains(self) -> bool:
        return self.first == "explain"

    @property
    def changes(self) -> bool:
        """Whether it may change rows."""
        return bool(_CHANGING & self.names)

    @property
    def defines(self) -> bool:
        """Whether it may change the schema."""
        return self.first in _DEFINING or (self.first in ("select", "with", "table") and "into" in self.names)


def read_statement(sql: str, *, write: bool) -> Reading:
    """Look at one statement.

    Args:
        sql: From the agent.
        write: Whether it may change anything.

    Raises:
        ToolError: It may not be run; the text says why.
    """
    found = list(_tokens(sql))
    end = len(sql)
    while found and found[-1][0] == "end":
        end = found.pop()[2]
    tokens = [(kind, text) for kind, text, _ in found]
    if not tokens:
        raise ToolError("send one statement; this is none")
    if ("end", ";") in tokens:
        raise ToolError("send one statement at a time")
    words = [text.lower() for kind, text in tokens if kind == "word"]
    quoted = [text[1:-1].replace('""', '"') for kind, text in tokens if kind == "quoted"]
    first = words[0] if words and tokens[0][0] == "word" else tokens[0][1]
    if first == "(":  # a query in parentheses
        first = next((word for word in words if word in _READING), first)
    allowed = _READING | _CHANGING | _DEFINING if write else _READING
    if first in (_CHANGING | _DEFINING) and not write:
        raise ToolError("writing is not allowed here")
    if first not in allowed or (first in _DEFINING and words[1:2] and words[1] not in _DEFINED):
        raise ToolError(f"{' '.join(words[:2] if first in _DEFINING else words[:1]).upper()[:80]} is not allowed here")
    for name in (*words, *quoted):
        if _DENIED.fullmatch(name.lower()):
            raise ToolError(f"{name} is not allowed here")
    return Reading(sql[:end], first, frozenset([*words, *quoted]))


def _tokens(sql: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and place of each token."""
    if "\0" in sql:
        raise ToolError("the statement contains a null character")
    at = 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise ToolError("the statement cannot be read")
        kind = match.lastgroup or "mark"
        if kind == "unicode":
            raise ToolError("names and texts with U& are not allowed here")
        if kind == "comment":
            at = _after_comment(sql, at)
            continue
        if kind != "space":
            yield ("dollar" if kind == "tag" else kind), match[0], at
        at = match.end()


def _after_comment(sql: str, at: int) -> int:
    depth = 0
    for border in _COMMENT_BORDER.finditer(sql, at):
        depth += 1 if border[0] == "/*" else -1
        if depth == 0:
            return border.end()
    raise ToolError("a comment has no end")
