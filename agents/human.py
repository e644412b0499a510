"""`human`: a person at a terminal, or a script that is piped in. Behind `tir-gym play`."""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from tir_gym.agent import AgentFailure
from tir_gym.agents.programmed import numbered
from tir_gym.dialects import get_dialect
from tir_gym.env import Action
from tir_gym.errors import UsageError
from tir_gym.messages import Observation
from tir_gym.records import Message, ToolCall

if TYPE_CHECKING:
    from rich.console import Console

HELP = """\
AddAlarm time=07:30:00            call a tool; quote values with spaces: text="see you soon"
AddAlarm {"time": "07:30:00"}     the same, arguments as JSON
GetA x=1 ; GetB y=2               several calls in one message
tools                             the tools;  tools AddAlarm  one of them in full
help                              this text
anything else                     words, to the user or as the final answer
say TEXT                          words that begin like a command
Ctrl-D                            leave; the episode is not scored"""

_ASSIGNMENT = re.compile(r"""\s*([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|'[^']*'|[^\s;]*)""")
_LIKE_A_CALL = re.compile(r"([A-Za-z_][\w.-]*)\s*(\{|[A-Za-z_]\w*=)")


class HumanAgent:
    """Shows what is new and reads the next message, line by line.

    Args:
        source: Where lines come from; standard input by default.
        screen: Where to show; standard output by default.
    """

    needs_gold = False

    def __init__(self, source: TextIO | None = None, screen: TextIO | None = None) -> None:
        self._source = source
        self._screen = screen

    def begin(self, env_info: dict[str, Any]) -> None:
        from rich.console import Console  # heavy, and only this agent shows anything

        self._console: Console = Console(file=self._screen or sys.stdout, highlight=False, markup=False, emoji=False)
        self._dialect = get_dialect(env_info["dialect"])
        self._tools = {entry["function"]["name"]: entry["function"] for entry in env_info["tools"]}
        self._turn = 0
        self._print(f"{env_info['env_id']}, task {env_info['task_id']}. Type help for help.", "dim")

    def act(self, observation: Observation, info: dict[str, Any]) -> Action:
        for message in observation:
            self._show(message)
        while True:
            line = self._read()
            try:
                move = self._understand(line)
            except UsageError as error:
                self._print(str(error), "red")
                continue
            if move is not None:
                text, calls = move
                action = self._dialect.render(text, numbered(calls, self._turn))
                self._turn += 1
                return action

    def _read(self) -> str:
        self._console.print("> ", end="", style="bold")
        line = (self._source or sys.stdin).readline()
        if not line:
            raise AgentFailure("the input ended before the episode did")
        return line.strip()

    def _understand(self, line: str) -> tuple[str, list[ToolCall]] | None:
        """Words and calls of the line, or `None` if it was for this program."""
        word, _, rest = line.partition(" ")
        if not line:
            return None
        if line == "help":
            self._print(HELP)
            return None
        if word == "tools" and (not rest or rest in self._tools):
            self._list_tools(rest)
            return None
        if word == "say":
            return rest, []
        if word in self._tools:
            return "", read_calls(line, self._tools)
        looks = _LIKE_A_CALL.match(line)
        if looks is not None:
            near = difflib.get_close_matches(looks[1], self._tools, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "type tools for a list"
            raise UsageError(f"there is no tool named {looks[1]}; {hint}")
        return line, []

    def _show(self, message: Message) -> None:
        style = {"user": "bold green", "tool": "cyan"}.get(message["role"], "dim")
        self._print(f"[{message.get('name') or message['role']}] {message.get('content') or ''}", style)

    def _print(self, text: str, style: str = "") -> None:
        # A terminal wants whole words; whatever else reads this wants the lines as they are.
        self._console.print(text, style=style, soft_wrap=not self._console.is_terminal)

    def _list_tools(self, name: str) -> None:
        if name:
            self._print(json.dumps(self._tools[name], indent=2, ensure_ascii=False))
            return
        for tool in self._tools.values():
            schema = tool["parameters"]
            required = schema.get("required", ())
            names = [key if key in required else f"[{key}]" for key in schema.get("properties", {})]
            self._print(f"{tool['name']} {' '.join(names)}")
            self._print(f"    {tool.get('description', '')}", "dim")


def read_calls(line: str, tools: Mapping[str, Mapping[str, Any]]) -> list[ToolCall]:
    """The calls of a line such as `AddAlarm time=07:30:00 ; FindAlarms {}`.

    Args:
        line: What was typed.
        tools: The `function` part of each tool, by name; its schema tells `7` from `"7"`.

    Raises:
        UsageError: The line cannot be read; says where.
    """
    calls: list[ToolCall] = []
    at = 0
    while True:
        name = re.compile(r"\s*([^\s{;]+)\s*").match(line, at)
        if name is None or name[1] not in tools:
            raise UsageError(f"expected the name of a tool at {line[at:].strip() or 'the end of the line'!r}")
        properties = tools[name[1]]["parameters"].get("properties", {})
        arguments, at = _read_arguments(line, name.end(), properties)
        calls.append(ToolCall(name[1], arguments))
        rest = line[at:].strip()
        if not rest:
            return calls
        if not rest.startswith(";"):
            raise UsageError(f"cannot read {rest!r}: write arguments as name=value, or all of them as one JSON object")
        at = line.index(";", at) + 1


def _read_arguments(line: str, at: int, properties: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    if line[at : at + 1] == "{":
        try:
            arguments, end = json.JSONDecoder().raw_decode(line, at)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the arguments are not valid JSON: {error}") from None
        return arguments, end
    found: dict[str, Any] = {}
    while (match := _ASSIGNMENT.match(line, at)) is not None:
        found[match[1]] = _value(match[2], properties.get(match[1], {}))
        at = match.end()
    return found, at


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    """What was typed as the schema has it: text stays text, all else is read as JSON where that works."""
    if text[:1] in ("'", '"'):
        return json.loads(text) if text[0] == '"' and _is_json(text) else text[1:-1]
    kinds = [part.get("type") for part in (schema, *schema.get("anyOf", ()))]
    if "string" in kinds and text != "null":
        return text
    return json.loads(text) if _is_json(text) else text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
