"""A client of MCP servers, in memory and as programs: calls, what a state is there, and how long a server lives."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tir_gym.checks import same_changes
from tir_gym.errors import InfrastructureError, SandboxDied, SandboxUnavailable, UsageError
from tir_gym.records import ToolCall
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.mcp import McpSandbox, loop

PROGRAM = Path(__file__).with_name("mcp_hostile.py")
LOOK = ToolCall("look")


def write(text: str) -> ToolCall:
    return ToolCall("write", {"text": text})


def program(mode: str = "good", **options: Any) -> McpSandbox:
    options = {"limits": {"wall_seconds": 20}, **options}
    made = make_sandbox("mcp", command=sys.executable, args=["-I", str(PROGRAM), mode], **options)
    assert isinstance(made, McpSandbox)
    return made


def texts(sandbox: McpSandbox) -> list[str]:
    told = json.loads(sandbox.call(LOOK).content)["texts"]
    return [one["text"] for one in told.values()]


def in_memory() -> MCPServer:
    """A server with a state, made anew for each session."""
    server = MCPServer("memory")
    kept: list[str] = []

    @server.tool()
    def write(text: str) -> int:
        kept.append(text)
        return len(kept)

    @server.tool()
    async def look() -> dict[str, Any]:
        return {"texts": {str(i): {"text": one} for i, one in enumerate(kept)}}

    @server.tool()
    def refuse() -> str:
        raise ToolError("no more")

    return server


def gone(pid: int) -> bool:
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def pid_of(sandbox: McpSandbox) -> int:
    return int(sandbox.call(ToolCall("do", {"what": "pid"})).content)


# Calls.


def test_tools_and_calls_in_memory() -> None:
    with make_sandbox("mcp", server=in_memory) as sandbox:
        assert [spec.name for spec in sandbox.specs] == ["write", "look", "refuse"]
        assert sandbox.specs[0].parameters["properties"]["text"]["type"] == "string"
        assert sandbox.call(write("a")).content == {"result": 1}
        assert sandbox.call(LOOK).content == {"texts": {"0": {"text": "a"}}}
        refused = sandbox.call(ToolCall("refuse"))
        assert (refused.content, refused.error_kind) == (None, "refused")
        assert refused.error == "Error executing tool refuse: no more"


def test_tools_and_calls_of_a_program() -> None:
    with program() as sandbox:
        assert [(spec.name, spec.effect) for spec in sandbox.specs] == [
            ("write", "write"),
            ("look", "read"),
            ("do", "write"),
        ]
        assert sandbox.run_turn([write("a"), LOOK, LOOK, write("b"), LOOK])[3].content == "2 kept"
        assert texts(sandbox) == ["a", "b"]


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (ToolCall("wrote", {"text": "a"}), "unknown_tool", "there is no tool named 'wrote'; did you mean write?"),
        (ToolCall("write"), "invalid_arguments", "argument `text` is required"),
        (ToolCall("write", {"text": 3}), "invalid_arguments", "argument `text`: expected string, got 3"),
        (ToolCall("write", {"text": "a", "b": 1}), "invalid_arguments", "unknown argument `b`"),
        (ToolCall("write", {"text": "\ud800"}), "invalid_arguments", "no valid Unicode"),
        (ToolCall("do", {"what": "a", "x": float("nan")}), "invalid_arguments", "no JSON"),
    ],
)
def test_the_agents_mistakes_are_answered_without_the_server(
    call: ToolCall, kind: str, says: str, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    with program(env={"CALLS": str(calls)}) as sandbox:
        result = sandbox.call(call)
    assert result.error_kind == kind
    assert says in (result.error or "")
    assert not calls.exists()


def test_pages_of_tools_are_read_to_the_end() -> None:
    with program("pages") as sandbox:
        assert [spec.name for spec in sandbox.specs] == ["write", "look", "do"]


def test_content_of_all_sorts() -> None:
    with program() as sandbox:

        def do(what: str) -> Any:
            return sandbox.call(ToolCall("do", {"what": what}))

        assert do("structured").content == {"n": 1}
        assert [block["type"] for block in do("blocks").content] == ["text", "image", "resource_link", "resource"]
        assert do("blocks").content[1] == {"type": "image", "data": "aGk=", "mimeType": "image/png"}
        assert (do("refuse").error, do("refuse").error_kind) == ("not today", "refused")
        assert do("silent-refusal").error == "the tool failed and gave no reason"
        assert (do("invalid").error, do("invalid").error_kind) == ("what: no such thing", "invalid_arguments")
        with pytest.raises(InfrastructureError, match="tool do broke: oops") as caught:
            do("bug")
        assert (caught.value.kind, caught.value.tool) == ("tool_bug", "do")


def test_a_program_gets_a_clean_environment_and_a_folder_that_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the host")
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    with program(env={"NAMED": "1"}) as sandbox:
        told = json.loads(sandbox.call(ToolCall("do", {"what": "environment"})).content)
        folder = Path(told["environ"].pop("HOME"))
        assert set(told["environ"]) == {"PATH", "LANG", "TMPDIR", "NAMED"}
        assert Path(told["cwd"]) == folder
        assert str(folder) != os.environ["HOME"]
        assert told["fds"] == [0, 1, 2, 3]  # the last is the listing's own
        assert sandbox.call(ToolCall("do", {"what": "litter"})).ok
        assert (folder / "litter").exists()
    assert not folder.exists()
    os.close(read_end)
    os.close(write_end)


# The state.


def test_the_state_is_the_calls_that_may_have_written() -> None:
    with program() as sandbox, program() as other:
        start = sandbox.digest()
        assert sandbox.diff() == {}
        sandbox.call(LOOK)
        sandbox.call(ToolCall("do", {"what": "refuse"}))
        assert (sandbox.diff(), sandbox.digest()) == ({}, start)
        for box, order in ((sandbox, "ab"), (other, "ba")):
            for text in order:
                box.call(write(text))
        assert sandbox.diff()["calls"]["0"] == {
            "before": None,
            "after": {"tool": "write", "arguments": {"text": "a"}},
        }
        assert same_changes(sandbox.diff(), other.diff())
        assert sandbox.digest() != other.digest()
        other.call(write("c"))
        assert not same_changes(sandbox.diff(), other.diff())


def test_a_state_tool_tells_the_state_itself() -> None:
    for state in ("look", ToolCall("look", {})):
        with program(state=state) as sandbox:
            start = sandbox.digest()
            sandbox.call(write("a"))
            assert sandbox.diff() == {"texts": {"0": {"before": None, "after": {"text": "a"}}}}
            assert sandbox.digest() != start
            sandbox.restore(())
            assert (sandbox.diff(), sandbox.digest()) == ({}, start)


def test_going_back_to_the_start_needs_a_new_server_only() -> None:
    with program() as sandbox:
        start = sandbox.snapshot()
        sandbox.call(write("a"))
        first = pid_of(sandbox)
        sandbox.restore(start)
        assert gone(first)
        assert texts(sandbox) == []
        assert sandbox.diff() == {}


def test_what_cannot_be_undone_is_refused() -> None:
    with program() as sandbox:
        sandbox.call(write("a"))
        middle = sandbox.snapshot()
        sandbox.restore(middle)  # nothing has happened since
        assert texts(sandbox) == ["a"]
        with pytest.raises(UsageError, match=r"1 calls that may have written .* replayable=True"):
            sandbox.fork()
        sandbox.call(write("b"))
        with pytest.raises(UsageError, match="replayable=True"):
            sandbox.restore(middle)
        assert texts(sandbox) == ["a", "b"]


def test_replayable_servers_go_anywhere() -> None:
    with program(replayable=True) as sandbox:
        sandbox.call(write("a"))
        middle = sandbox.snapshot()
        sandbox.call(write("b"))
        with sandbox.fork() as twin:
            twin.call(write("c"))
            assert (texts(twin), texts(sandbox)) == (["a", "b", "c"], ["a", "b"])
        sandbox.restore(middle)
        assert texts(sandbox) == ["a"]
        sandbox.restore(())
        assert texts(sandbox) == []


def test_a_server_that_answers_otherwise_the_second_time_is_not_replayable() -> None:
    with program(replayable=True) as sandbox:
        pid_of(sandbox)
        sandbox.call(write("a"))
        twin = sandbox.fork()
        with pytest.raises(InfrastructureError, match="is not replayable: do, sent again") as caught:
            twin.call(LOOK)
        assert caught.value.kind == "not_replayable"
        assert texts(sandbox) == ["a"]


def test_forks_at_the_start_are_apart_and_begin_with_their_first_call() -> None:
    with program() as root:
        root.restore(root.snapshot())
        twins = [root.fork() for _ in range(3)]
        assert all(twin._held.session is None for twin in (root, *twins))
        assert [spec.name for spec in twins[0].specs] == ["write", "look", "do"]
        for i, twin in enumerate(twins):
            twin.call(write(str(i)))
        assert [texts(twin) for twin in twins] == [["0"], ["1"], ["2"]]
        for twin in twins:
            twin.close()


def test_a_server_object_keeps_its_state_and_cannot_be_forked() -> None:
    server = in_memory()
    with make_sandbox("mcp", server=server) as sandbox:
        sandbox.call(write("a"))
        with pytest.raises(UsageError, match="give a function that makes the server"):
            sandbox.fork()
        with pytest.raises(UsageError, match="give a function that makes the server"):
            sandbox.restore(())
    with make_sandbox("mcp", server=server) as again:
        assert again.call(LOOK).content == {"texts": {"0": {"text": "a"}}}


def test_a_shared_session_serves_all_forks_and_ends_with_the_last() -> None:
    root = program(shared=True, effects="read")
    root.start()
    twin = root.fork()
    first = pid_of(root)
    assert pid_of(twin) == first
    root.call(write("a"))
    twin.restore(())
    assert texts(twin) == ["a"]
    assert twin.diff() == {}
    root.close()
    root.close()
    assert pid_of(twin) == first
    twin.close()
    assert gone(first)


def test_forks_that_share_wait_for_one_session() -> None:
    root = program(shared=True)
    with root:
        pids = []
        root._held.let_go()
        threads = [threading.Thread(target=lambda: pids.append(pid_of(root.fork()))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pids) == 6
        assert len(set(pids)) == 1


# Asynchronous callers.


def test_an_asynchronous_client_lives_on_the_callers_loop() -> None:
    async def main() -> None:
        async with make_sandbox("mcp", server=in_memory) as sandbox:
            assert isinstance(sandbox, McpSandbox)
            assert sandbox._held.loop() is asyncio.get_running_loop()
            assert (await sandbox.acall(write("a"))).content == {"result": 1}
            results = await sandbox.arun_turn([LOOK] * 20)
            assert [one.content for one in results] == [{"texts": {"0": {"text": "a"}}}] * 20
            with pytest.raises(UsageError, match="await acall"):
                sandbox.call(LOOK)
            # From another thread the same session answers.
            assert (await asyncio.to_thread(sandbox.call, LOOK)).ok
        assert "tir-gym-mcp" not in [thread.name for thread in threading.enumerate() if thread not in before]

    before = threading.enumerate()
    asyncio.run(main())


def test_asynchronous_programs_end_with_their_loop() -> None:
    pids: list[int] = []

    async def main() -> None:
        sandbox = program()
        await sandbox.astart()
        pids.append(int((await sandbox.acall(ToolCall("do", {"what": "pid"}))).content))
        # neither closed nor collected before the loop ends
        main.kept = sandbox  # type: ignore[attr-defined]

    asyncio.run(main())
    assert gone(pids[0])
    with pytest.raises(SandboxDied, match="is gone"):
        main.kept.call(LOOK)  # type: ignore[attr-defined]


def test_a_session_of_the_background_serves_asynchronous_callers_too() -> None:
    with program() as sandbox:
        sandbox.call(write("a"))

        async def main() -> list[Any]:
            return await asyncio.gather(*(sandbox.acall(LOOK) for _ in range(5)))

        assert len({one.content for one in asyncio.run(main())}) == 1


def test_a_caller_who_waits_no_more_leaves_a_session_that_goes_on() -> None:
    async def main() -> None:
        async with program() as sandbox:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sandbox.acall(ToolCall("do", {"what": "hang"})), 0.2)
            assert list(sandbox.diff()["calls"]) == ["0"]  # it may have been done

        slow = MCPServer("slow")

        @slow.tool()
        async def nap() -> str:
            await asyncio.sleep(100)
            return "up"

        @slow.tool()
        async def fast() -> str:
            return "here"

        async with make_sandbox("mcp", server=slow, effects="read") as sandbox:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(sandbox.acall(ToolCall("nap")), 0.05)
            assert (await sandbox.acall(ToolCall("fast"))).content == {"result": "here"}

    asyncio.run(main())


# Life and death.


def test_calls_are_sent_at_most_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with program(env={"CALLS": str(calls)}, replayable=True) as sandbox:
        sandbox.call(write("a"))
        for what in ("die", "killed"):
            calls.write_text("")
            with pytest.raises(SandboxDied):
                sandbox.call(ToolCall("do", {"what": what}))
            with pytest.raises(SandboxDied, match="begins anew"):
                sandbox.call(LOOK)
            assert calls.read_text().split() in (["do"], ["write", "do"])  # a replay first, where one was due
            sandbox.start()
            assert texts(sandbox) == ["a"]


def test_a_dead_server_is_told_and_replaced() -> None:
    with program() as sandbox:
        sandbox.call(write("a"))
        with pytest.raises(SandboxDied, match=r"ended with status 7; its last words: out of memory, or so"):
            sandbox.call(ToolCall("do", {"what": "die"}))
        sandbox.restore(())
        assert texts(sandbox) == []
        with pytest.raises(SandboxDied, match=r"status 137 \(signal 9\)"):
            sandbox.call(ToolCall("do", {"what": "killed"}))
        sandbox.start()
        assert (texts(sandbox), sandbox.diff()) == ([], {})
        os.kill(pid_of(sandbox), signal.SIGKILL)  # between two calls
        with pytest.raises(SandboxDied):
            sandbox.call(LOOK)


def test_a_shared_server_that_died_is_replaced_by_the_next_call() -> None:
    with program(shared=True) as sandbox:
        with pytest.raises(SandboxDied):
            sandbox.call(ToolCall("do", {"what": "die"}))
        assert sandbox.call(LOOK).ok


def test_closing_ends_the_process_and_so_does_forgetting() -> None:
    sandbox = program()
    sandbox.start()
    pid = pid_of(sandbox)
    sandbox.close()
    sandbox.close()
    assert gone(pid)
    with pytest.raises(SandboxDied, match="it was closed"):
        sandbox.call(LOOK)
    sandbox.restore(())
    pid = pid_of(sandbox)
    del sandbox
    gc.collect()
    assert gone(pid)


@pytest.mark.parametrize(
    ("mode", "end"),
    [("good", "exit"), ("good", "SIGINT"), ("good", "SIGKILL"), ("stubborn", "raise"), ("stubborn", "SIGKILL")],
)
def test_no_server_outlives_its_host(mode: str, end: str, tmp_path: Path) -> None:
    """Not even one that ignores signals and the end of its input, nor the daemon that it has started."""
    script = f"""
import sys, time
from tir_gym.sandboxes import make_sandbox
sandbox = make_sandbox(
    "mcp", command=sys.executable, args=["-I", {str(PROGRAM)!r}, {mode!r}], env={{"MARK": sys.argv[1]}}
)
sandbox.start()
print("started", flush=True)
sys.stdin.readline()
if sys.argv[2] == "exit":
    sys.exit()
if sys.argv[2] == "raise":
    raise RuntimeError
time.sleep(1000)
"""
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    host = subprocess.Popen(
        [sys.executable, "-c", script, mark, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert host.stdin is not None
    assert host.stdout is not None
    assert host.stdout.readline() == "started\n"
    assert len(marked(mark)) >= (2 if mode == "stubborn" else 1)
    if end.startswith("SIG"):
        host.send_signal(getattr(signal, end))
    else:
        host.stdin.write("\n")
        host.stdin.flush()
    host.wait(60)
    host.stdin.close()
    host.stdout.close()
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marked(mark) == []


def marked(mark: str) -> list[int]:
    """Processes with that variable in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MARK={mark}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_forked_child_has_its_own_servers_and_leaves_the_parents_alone() -> None:
    with program() as sandbox, program(replayable=True) as replayable, program() as untouched:
        for box in (sandbox, replayable):
            box.call(write("a"))
        parents = [pid_of(sandbox), texts(replayable), texts(untouched)]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert texts(replayable) == ["a"]
                assert texts(untouched) == []
                with pytest.raises(SandboxDied, match="another process"):
                    sandbox.call(LOOK)
                status = 0
                sandbox.close()
                replayable.close()
                untouched.close()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [pid_of(sandbox), texts(replayable), texts(untouched)] == parents


def test_a_stuck_loop_is_left_behind() -> None:
    blocked = threading.Event()

    async def block() -> None:
        blocked.wait(30)

    with pytest.raises(SandboxDied, match="did not answer"):
        loop.run(block(), 0.2)
    with program() as sandbox:  # on a new loop
        assert sandbox.call(LOOK).ok
    blocked.set()


# In the jail.


@pytest.fixture(scope="module")
def jail() -> None:
    from tir_gym.sandboxes.jail.slot import probe_tier

    why = probe_tier("A")
    if why is not None:
        pytest.skip(f"no jail here: {why}")


def in_jail(**options: Any) -> McpSandbox:
    arguments = ["-I", f"/srv/{PROGRAM.name}", options.pop("mode", "good")]
    options = {"limits": {"wall_seconds": 20}, "read_only": {str(PROGRAM.parent): "/srv"}, **options}
    made = make_sandbox("mcp", command=sys.executable, args=arguments, jailed=True, **options)
    assert isinstance(made, McpSandbox)
    return made


@pytest.mark.usefixtures("jail")
def test_a_jailed_server_serves_and_reaches_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the host")
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reach = ToolCall("do", {"what": f"reach {secret} {listener.getsockname()[1]}"})
        with program() as free:
            assert json.loads(free.call(reach).content) == [True, True]
        with in_jail(env={"NAMED": "1"}) as sandbox:
            assert json.loads(sandbox.call(reach).content) == [False, False]
            told = json.loads(sandbox.call(ToolCall("do", {"what": "environment"})).content)
            assert (told["environ"]["NAMED"], told["environ"]["HOME"], told["cwd"]) == ("1", "/work", "/work")
            assert told["fds"] == [0, 1, 2, 3]
            assert "SECRET" not in told["environ"]
            sandbox.call(write("a"))
            assert texts(sandbox) == ["a"]
            sandbox.restore(())
            assert texts(sandbox) == []


@pytest.mark.usefixtures("jail")
def test_a_jailed_server_dies_alone() -> None:
    with in_jail(replayable=True) as sandbox:
        sandbox.call(write("a"))
        for what in ("die", "killed"):
            with pytest.raises(SandboxDied, match="the server ended"):
                sandbox.call(ToolCall("do", {"what": what}))
            sandbox.start()
            assert texts(sandbox) == ["a"]
    with pytest.raises(SandboxUnavailable, match="the server ended"):
        in_jail(mode="exits").start()


@pytest.mark.usefixtures("jail")
def test_a_jailed_server_does_not_outlive_its_session() -> None:
    with in_jail(mode="stubborn") as sandbox:
        assert sandbox.call(LOOK).ok
        session = sandbox._held.session
        assert session is not None
        slot = session._connection._process._process._slot  # type: ignore[attr-defined]
        assert Path(f"/proc/{slot.pid}").exists()
    assert gone(slot.pid)


# Servers that cannot be had, and options that cannot be.


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"command": "no-such-program-here"}, "no program 'no-such-program-here' to start"),
        ({"command": sys.executable, "args": ["-c", "raise SystemExit('no key')"]}, "status 1; its last words: no key"),
        ({"command": sys.executable, "args": ["-c", "print('hello')"]}, "ended with status 0"),
        ({"command": sys.executable, "cwd": "/no/such/folder"}, "cannot start"),
        ({"url": "http://127.0.0.1:9/mcp"}, "cannot be used"),
        ({"server": lambda: None}, "cannot be used"),
    ],
)
def test_a_server_that_cannot_be_had(options: dict[str, Any], says: str) -> None:
    sandbox = make_sandbox("mcp", **options)
    with pytest.raises(SandboxUnavailable, match=says) as caught:
        sandbox.start()
    assert caught.value.kind == "server_missing"
    sandbox.close()


def test_a_server_is_named_in_one_line_whatever_its_arguments_are() -> None:
    program = "import sys\nsys.exit(3)\n" + "# much more\n" * 100
    sandbox = make_sandbox("mcp", command=sys.executable, args=["-c", program])
    with pytest.raises(SandboxUnavailable, match=r"import sys sys\.exit\(3\)") as told:
        sandbox.start()
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300
    sandbox.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "exactly one of command, url and server"),
        ({"command": "a", "url": "http://b"}, "command and url given"),
        ({"url": "b"}, "give the address of an MCP server"),
        ({"url": "http://b", "args": ["x"]}, "args, env, cwd, jailed and read_only are for a server that is a program"),
        ({"command": "a", "headers": {"x": "y"}}, "headers are for a server behind an address"),
        ({"url": "http://b", "jailed": True}, "for a server that is a program"),
        ({"command": "a", "jailed": True, "cwd": "/"}, "cwd: a server in the jail works in its own folder"),
        ({"command": "a", "read_only": {"/a": "/b"}}, "read_only: a server outside the jail sees everything"),
        ({"command": "a", "shared": True, "replayable": True}, "shared=True is for servers without a state"),
        ({"server": 3}, "give a Server or MCPServer"),
        ({"command": "a", "nope": 1}, "nope"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_sandbox("mcp", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"state": "lok"}, "state: .* there is no tool named 'lok'; did you mean look"),
        ({"state": "write"}, "state: .* argument `text` is required"),
        ({"effects": {"lok": "read"}}, r"effects: .* offers no tools \['lok'\]"),
    ],
)
def test_options_that_do_not_fit_the_server(options: dict[str, Any], says: str) -> None:
    sandbox = program(**options)
    with pytest.raises(UsageError, match=says):
        sandbox.start()
    sandbox.close()


def test_the_tools_are_not_known_before_the_start() -> None:
    with pytest.raises(UsageError, match="not known before start"):
        _ = program().specs


def test_the_extra_is_named_where_it_is_missing_and_loaded_only_when_asked_for() -> None:
    code = "import sys; sys.modules['mcp'] = None; import tir_gym.sandboxes as s; s.make_sandbox('mcp', command='a')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingExtra" in done.stderr
    assert "pip install 'tir-gym[mcp]'" in done.stderr
    code = "import sys, tir_gym.sandboxes; print([name for name in sys.modules if name.split('.')[0] == 'mcp'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
