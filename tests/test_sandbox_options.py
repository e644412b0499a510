"""What a caller can get wrong when asking for a sandbox: one error at once, with the thing, the value and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from tir_gym.errors import UsageError
from tir_gym.sandbox import Limits
from tir_gym.sandboxes import KINDS, make_sandbox

LIMITED = sorted(set(KINDS) - {"state"})


@pytest.mark.parametrize("kind", ["jain", "Jail", "docker", "", None, 3, ["jail"]])
def test_a_kind_that_there_is_not(kind: Any) -> None:
    with pytest.raises(UsageError, match=r"no sandbox .*; choose one of container, jail, mcp, shell, sql, state, wasi"):
        make_sandbox(kind)


@pytest.mark.parametrize("kind", LIMITED)
@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"memroy": 3}, "no limit 'memroy'; there are cpu_seconds, wall_seconds, memory, .*output"),
        ({"wall_seconds": -1}, "limit wall_seconds=-1: should be greater than 0"),
        ({"cpu_seconds": 0}, "limit cpu_seconds=0: should be greater than 0"),
        ({"wall_seconds": float("inf")}, "limit wall_seconds=inf: should be less than"),
        ({"wall_seconds": float("nan")}, "limit wall_seconds=nan"),
        ({"output": 0}, "limit output=0: should be greater"),
        ({"memory": "1GB"}, "limit memory='1GB': should be a valid integer"),
        ({"memory": 1 << 80}, "limit memory=.*: should be less than"),
        ({"processes": 0, "files": 1}, "limit processes=0: .*; limit files=1: "),
        (5, "limits=5: give a Limits, or its fields"),
        ([("memory", 1)], r"limits=\[.*: give a Limits, or its fields"),
    ],
)
def test_limits_that_cannot_be(kind: str, limits: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as told:
        make_sandbox(kind, limits=limits)
    assert "\n" not in str(told.value)


def test_a_state_runs_in_this_process_and_takes_no_limits() -> None:
    with pytest.raises(UsageError, match="takes none"):
        make_sandbox("state", limits={"memory": 1 << 30})


@pytest.mark.parametrize("kind", ["jail", "shell", "sql"])
def test_the_largest_limits_there_are_can_be_held(kind: str) -> None:
    fields = Limits.model_json_schema()["properties"]
    limits = {name: field["maximum"] for name, field in fields.items()}
    call = {"jail": ("python", "code", "print(1)"), "shell": ("run", "command", "echo 1")}
    tool, argument, text = call.get(kind, ("query", "sql", "SELECT 1"))
    from tir_gym import ToolCall

    with make_sandbox(kind, limits=limits) as sandbox:
        assert sandbox.call(ToolCall(tool, {argument: text})).error is None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_option_that_is_not_taken_is_named_with_those_that_are(kind: str) -> None:
    with pytest.raises(UsageError, match=f"the sandbox '{kind}' has no option 'colour'; it has "):
        make_sandbox(kind, colour="red")


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("jail", {"memory": 1 << 30}, r"memory is a limit: limits=\{'memory': 1073741824\}"),
        ("jail", {"network": "bridge"}, "no option 'network'; .*make_sandbox\\('container', network=...\\)"),
        ("shell", {"network": "bridge"}, "no option 'network'; .*make_sandbox\\('container', network=...\\)"),
        ("state", {}, "the sandbox 'state' needs toolkit, world, now"),
        ("jail", {"modules": "numpy"}, "modules='numpy': give a sequence of names"),
        ("jail", {"modules": 5}, "modules=5: give a sequence of names"),
        ("jail", {"modules": (3,)}, r"modules=\(3,\): give a sequence of names"),
        ("container", {"modules": "numpy"}, "modules='numpy': give a sequence of names"),
        ("jail", {"files": ["a.txt"]}, r"files=\['a.txt'\]: give contents by path"),
        ("jail", {"files": {3: "x"}}, "give contents by path"),
        ("jail", {"files": {"x": 3}}, "the content of 'x' is a int; give text or bytes"),
        ("jail", {"files": {"x": "\ud800"}}, "the content of 'x' is no valid Unicode"),
        ("shell", {"files": ["a.txt"]}, r"files=\['a.txt'\]: give contents by path"),
        ("shell", {"files": {"x": "\ud800"}}, "the content of 'x' is no valid Unicode"),
        ("shell", {"files": {"x": {"base64": "no!"}}}, "the content of 'x' is no valid Unicode or base64"),
        ("shell", {"toolkit": [1]}, r"toolkit=\[1\]: give a Toolkit"),
        (
            "shell",
            {"files": {f"f{i}": "" for i in range(20)}, "limits": {"files": 16}},
            "20 files and folders, and the limit `files` is 16",
        ),
        (
            "shell",
            {"files": {"x": b"x" * (2 << 20)}, "limits": {"disk": 1 << 20}},
            "2097152 bytes, and the limit `disk` is 1048576",
        ),
        ("sql", {"rows": 0}, "rows=0: give the most rows of one result"),
        ("sql", {"rows": "10"}, "rows='10'"),
        ("sql", {"seed": "x"}, "seed='x': give a whole number"),
        ("sql", {"now": "yesterday"}, "now='yesterday': give the simulated clock as YYYY-MM-DD HH:MM:SS"),
        ("sql", {"now": "2025-1-6 9:00:00"}, "now='2025-1-6 9:00:00'"),
        ("sql", {"database": "/no/such.db"}, "'/no/such.db' is no SQLite database that can be read"),
        ("sql", {"database": "/etc/passwd"}, "'/etc/passwd' is no SQLite database that can be read"),
        ("container", {"cpus": 0}, "cpus=0: give processors' worth of time"),
        ("container", {"cpus": "2"}, "cpus='2': give processors' worth of time"),
        ("container", {"network": 3}, "network=3: give a name as text, or None"),
        ("container", {"image": ""}, "image='': give a name as text"),
        ("mcp", {"command": ["uvx", "x"]}, r"command=\['uvx', 'x'\]: give the program alone"),
        ("mcp", {"command": "uvx", "args": "mcp-server-time"}, "args='mcp-server-time': give a list of texts"),
        ("mcp", {"command": "uvx", "env": {"PORT": 3}}, "env: give texts by name"),
    ],
)
def test_options_that_cannot_be(kind: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as told:
        make_sandbox(kind, **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["jail", "shell", "sql"])
@pytest.mark.parametrize("picture", [None, "x", 3, object()])
def test_what_is_no_picture_is_not_restored(kind: str, picture: Any) -> None:
    with make_sandbox(kind) as sandbox:
        before = sandbox.digest()
        with pytest.raises(UsageError, match=r"restore\(.*give what snapshot\(\) of this sandbox"):
            sandbox.restore(picture)
        assert sandbox.digest() == before


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("abc", "the rows of 't' are 'abc'; give a list of lists"),
        (["abc"], "give a list of lists"),
        ([1], "give a list of lists"),
        ([[1], {"a": 1}], "give a list of lists"),
        ([{"a": 1}, {"a": 1, "b": 2}], r"the rows of 't' name different columns; let each name \['a'\]"),
        ([[1, 2]], "table t has 1 columns but 2 values"),
    ],
)
def test_rows_that_would_be_taken_for_others(rows: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_sandbox("sql", database={"schema": "CREATE TABLE t (a)", "rows": {"t": rows}})


@pytest.mark.parametrize("url", ["junk", "postgresql://u:secret@h:x/d", "mysql://u:secret@h/d"])
def test_an_address_of_no_server(url: str) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UsageError, match=r"url.*postgresql://user@host") as told:
        make_sandbox("sql", url=url).start()
    assert "secret" not in str(told.value)
