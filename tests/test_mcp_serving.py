"""Our tools served over MCP, and read back by our own client in memory, over stdio, over HTTP, and by the SDK's."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import notebook
import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")

import mcp_assistant
from mcp import Client, MCPError

from tir_gym.errors import InfrastructureError, SandboxUnavailable, ToolError
from tir_gym.gold import replay
from tir_gym.records import Task, ToolCall
from tir_gym.sandbox import Sandbox
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.mcp import McpSandbox, serve
from tir_gym.sandboxes.state import StateSandbox, World
from tir_gym.tool import Toolkit, tool

HERE = Path(__file__).parent
MODULE = ["-m", "tir_gym.sandboxes.mcp"]


def notes() -> StateSandbox:
    return StateSandbox(notebook.TOOLS, notebook.WORLD, datetime(2025, 1, 6))


def served(made: StateSandbox) -> McpSandbox:
    sandbox = make_sandbox("mcp", server=lambda: serve(made.fork()))
    assert isinstance(sandbox, McpSandbox)
    return sandbox


@contextmanager
def over_http(task: str) -> Iterator[str]:
    """The address of a server of that task's world."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *MODULE, "mcp_assistant:make", "--http", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, cwd=HERE, env={"TASK": task})
    try:
        for _ in range(600):
            assert server.poll() is None
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        server.terminate()
        server.wait(10)


def same_as_direct(sandbox: Sandbox, task: str) -> None:
    """Specifications, and the results of the gold calls and of some wrong ones, are those of the sandbox itself."""
    env = mcp_assistant.family()
    found = env.task_named(task)
    direct = env.make_sandbox(found)
    assert sandbox.specs == direct.specs
    assert replay(found.gold, sandbox).results == replay(found.gold, direct).results
    for call in (
        ToolCall("AddAlarm", {"time": "7 o'clock"}),
        ToolCall("AddAlarm", {}),
        ToolCall("UserLogin", {"username": "nobody", "password": "x"}),
        ToolCall("DeleteReminder", {"reminder_id": "0000-0000"}),
        ToolCall("NoSuchTool", {}),
    ):
        ours, theirs = sandbox.call(call), direct.call(call)
        assert ours.error_kind == theirs.error_kind is not None
        if ours.error_kind != "invalid_arguments":  # said in the words of the schema, not of the function
            assert ours == theirs


def test_the_assistant_in_memory_is_the_assistant() -> None:
    env = mcp_assistant.family()
    for name in env.task_ids(12):
        made = env.make_sandbox(env.task_named(name))
        assert isinstance(made, StateSandbox)
        with served(made) as sandbox:
            same_as_direct(sandbox, name)


def test_the_assistant_over_stdio_is_the_assistant() -> None:
    with make_sandbox(
        "mcp",
        command=sys.executable,
        args=[*MODULE, "mcp_assistant:make"],
        env={"TASK": "test/3"},
        cwd=str(HERE),
        replayable=True,
    ) as sandbox:
        same_as_direct(sandbox, "test/3")
        sandbox.restore(())
        same_as_direct(sandbox, "test/3")


def test_the_assistant_over_http_is_the_assistant() -> None:
    with over_http("test/4") as url:
        with make_sandbox("mcp", url=url, headers={"X-Test": "1"}) as sandbox:
            same_as_direct(sandbox, "test/4")

        async def main() -> None:
            async with make_sandbox("mcp", url=url) as sandbox:
                results = await sandbox.arun_turn([ToolCall("FindAlarms")] * 8)
                assert len({str(one.content) for one in results}) == 1

        asyncio.run(main())


def test_a_server_over_http_that_goes_away_is_an_infrastructure_failure() -> None:
    with over_http("test/4") as url:
        sandbox = make_sandbox("mcp", url=url)
        sandbox.start()
        assert sandbox.call(ToolCall("FindAlarms")).error_kind == "refused"
    with pytest.raises(InfrastructureError):
        sandbox.call(ToolCall("FindAlarms"))
    with pytest.raises(InfrastructureError):
        sandbox.call(ToolCall("FindAlarms"))
    sandbox.close()
    with pytest.raises(SandboxUnavailable):
        make_sandbox("mcp", url=url).start()


@tool(raises=(KeyError,))
def give(what: str) -> Any:
    """Give a value back.

    Args:
        what: Which.
    """
    if what == "both":
        raise ToolError("failed", content={"printed": "before"})
    return VALUES[what]


VALUES: dict[str, Any] = {
    "text": "plain",
    "empty text": "",
    "JSON text": '{"a": 1}',
    "object": {"a": [1, None, {"b": "ü"}]},
    "empty object": {},
    "result": {"result": 1},
    "list": [1, "a", None],
    "empty list": [],
    "number": 1.5,
    "true": True,
    "none": None,
}


@pytest.mark.parametrize("mode", ["memory", "wire"])
def test_content_of_any_shape_survives(mode: str) -> None:
    box = StateSandbox(Toolkit([give]), World({}), datetime(2025, 1, 6))
    calls = [ToolCall("give", {"what": what}) for what in (*VALUES, "both", "absent")]

    async def old(call: ToolCall) -> Any:
        """Over the wire of 2025, in which structured content is an object."""
        from tir_gym.sandboxes.mcp.results import read_result

        async with Client(serve(box), mode="legacy") as client:
            return read_result(await client.call_tool(call.name, dict(call.arguments)), 10_000)

    if mode == "wire":
        assert [asyncio.run(old(call)) for call in calls] == [box.call(call) for call in calls]
    else:
        with served(box) as sandbox:
            assert [sandbox.call(call) for call in calls] == [box.call(call) for call in calls]


def test_any_client_sees_ordinary_tools() -> None:
    async def main() -> None:
        async with Client(serve(notes()), raise_exceptions=True) as client:
            listed = (await client.list_tools()).tools
            assert [one.name for one in listed] == [spec.name for spec in notes().specs]
            add = listed[0].annotations
            assert add is not None
            assert (add.read_only_hint, add.destructive_hint) == (False, False)
            kept = await client.call_tool("add_note", {"owner": "ann", "text": "tea"})
            assert (kept.is_error, set(kept.structured_content)) == (False, {"note_id"})
            refused = await client.call_tool("delete_note", {"owner": "ann", "note_id": "n9"})
            assert (refused.is_error, refused.content[0].text) == (True, "no note n9")  # type: ignore[union-attr]
            with pytest.raises(MCPError, match="explode raised KeyError"):
                await client.call_tool("explode", {})

    asyncio.run(main())


def test_a_bug_stays_a_bug() -> None:
    with served(notes()) as sandbox:
        with pytest.raises(InfrastructureError, match="explode raised KeyError") as caught:
            sandbox.call(ToolCall("explode"))
        assert (caught.value.kind, caught.value.tool) == ("tool_bug", "explode")
        assert sandbox.call(ToolCall("list_notes", {"owner": "ann"})).ok


def test_calls_of_many_clients_come_one_by_one() -> None:
    box = notes()
    server = serve(box)

    async def main() -> None:
        async with Client(server) as one, Client(server) as other:
            calls = [
                client.call_tool("add_note", {"owner": "bob", "text": str(i)})
                for i in range(20)
                for client in (one, other)
            ]
            answers = await asyncio.gather(*calls)
            assert len({one.structured_content["note_id"] for one in answers}) == 40

    asyncio.run(main())
    assert len(box.diff()["notes/bob"]) == 40


class NotebookOverMcp(notebook.NotebookEnv):
    """The notebook family, its tools behind an MCP server."""

    env_id = "test/NotebookOverMcp-v0"
    roots: ClassVar[list[McpSandbox]] = []

    def make_sandbox(self, task: Task) -> Any:
        box = super().make_sandbox(task)
        sandbox = make_sandbox("mcp", server=lambda: serve(box.fork()), replayable=True)
        assert isinstance(sandbox, McpSandbox)
        sandbox.start()
        self.roots.append(sandbox)
        return sandbox


@pytest.mark.parametrize("name", sorted(notebook.GOLDS))
def test_an_environment_plays_on_an_mcp_server(name: str) -> None:
    env = NotebookOverMcp()
    _, info = env.reset(options={"task": name})
    script = info["oracle"].script()
    twin = None
    for i, (text, calls) in enumerate(script):
        if i == len(script) - 1:
            twin, picture = env.fork(), env.snapshot()
        _, _, terminated, _, info = env.step(env.dialect.render(text, calls))
    assert terminated
    assert info["success"], info
    assert twin is not None
    action = env.dialect.render(*script[-1])
    assert twin.step(action)[4]["success"]
    env.restore(picture)
    assert env.step(action)[4]["success"]
    assert all(root._held.session is None for root in env.roots)  # what is kept for later holds no server
    twin.close()
    env.close()


def test_the_page_runs(tmp_path: Path) -> None:
    page = (HERE.parent / "docs/mcp.md").read_text(encoding="utf-8")
    snippets = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(snippets) == 2
    script = tmp_path / "page.py"
    script.write_text("\n".join(snippets), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["no_such_module:make"], "No module named 'no_such_module'"),
        (["mcp_assistant:nothing"], "has no attribute 'nothing'"),
        (["mcp_assistant:no_sandbox"], "returned 'nothing', no sandbox"),
        (["mcp_assistant:make", "--http", "8000"], "give HOST:PORT"),
    ],
)
def test_what_cannot_be_served_is_said(arguments: list[str], says: str) -> None:
    done = subprocess.run([sys.executable, *MODULE, *arguments], cwd=HERE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
