"""Servers that hang, flood, lie, die or talk nonsense: nothing hangs with them, and each failure has its type.

That a test ends is half of what it shows: limits are short, and what a server does here would go on for ever.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed: pip install 'tir-gym[mcp]'")

from tir_gym.errors import InfrastructureError, SandboxDied, SandboxUnavailable
from tir_gym.records import ToolCall, ToolResult
from tir_gym.sandboxes import make_sandbox
from tir_gym.sandboxes.mcp import McpSandbox

PROGRAM = Path(__file__).with_name("mcp_hostile.py")
LOOK = ToolCall("look")
PATIENT = {"wall_seconds": 30, "output": 10_000}
SHORT = {"wall_seconds": 0.5, "output": 10_000}


def program(mode: str = "good", **options: Any) -> McpSandbox:
    options = {"limits": PATIENT, **options}
    made = make_sandbox("mcp", command=sys.executable, args=["-I", str(PROGRAM), mode], **options)
    assert isinstance(made, McpSandbox)
    return made


def do(sandbox: McpSandbox, what: str) -> ToolResult:
    return sandbox.call(ToolCall("do", {"what": what}))


# At the start.


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("mute", "did not answer within 2 s"),
        ("exits", "ended with status 3; its last words: no configuration found"),
        ("babbles", "more than 200000 lines without an answer|did not answer within 2 s"),
        ("wrong-version", "Unsupported protocol version from the server: 1999-01-01"),
        ("endless-pages", "its list of tools does not end"),
        ("only-bad", "offers no tool that can be used: .*'has space'"),
        ("no-list", "cannot be used: .*tools"),
    ],
)
def test_a_server_that_fails_at_its_start_is_unavailable(mode: str, says: str) -> None:
    sandbox = program(mode, start_seconds=2 if mode in ("mute", "babbles") else 30)
    with pytest.raises(SandboxUnavailable, match=says) as caught:
        sandbox.start()
    assert caught.value.kind == "server_missing"
    with pytest.raises(SandboxUnavailable):
        sandbox.start()
    sandbox.close()


def test_one_bad_tool_does_not_spoil_the_others() -> None:
    with program("bad-tools") as sandbox:
        assert [spec.name for spec in sandbox.specs] == ["write", "look", "do"]
        assert {one.tool: one.reason.partition(":")[0] for one in sandbox.refused} == {
            "has space": "name",
            "look": "name",
            **dict.fromkeys(("text", "broken", "far", "nowhere", "deep"), "inputSchema"),
        }
        assert {one.server for one in sandbox.refused} == {f"{Path(sys.executable).name} mcp_hostile.py"}
        assert sandbox.call(LOOK).ok


# Schemas.


@pytest.mark.parametrize(
    ("tool", "arguments", "kind"),
    [
        ("backtrack", {"text": "a" * 10_000 + "!"}, "invalid_arguments"),
        ("backtrack", {"text": "a" * 10_000}, None),
        ("names", {"a" * 10_000 + "!": 1}, None),
        ("laughs", {"text": "short"}, "invalid_arguments"),
        ("laughs", {"text": "long" * 100}, None),
        ("circle", {"text": 1}, None),
    ],
)
def test_schemas_made_to_be_slow_are_not(tool: str, arguments: dict[str, Any], kind: str | None) -> None:
    with program("slow-schemas") as sandbox:
        assert sandbox.call(ToolCall(tool, arguments)).error_kind == kind


def test_a_result_that_is_not_what_was_declared_is_the_servers_failure() -> None:
    with program("lies") as sandbox:
        with pytest.raises(InfrastructureError, match="not what its outputSchema says") as caught:
            sandbox.call(LOOK)
        assert (caught.value.kind, caught.value.tool) == ("bad_result", "look")


def test_an_episodes_tools_do_not_change() -> None:
    with program("changing", effects="read") as sandbox:
        before = sandbox.specs
        assert do(sandbox, "notes").content == "after the notes"  # among them: the list has changed
        twin = sandbox.fork()  # whose server lists fewer
        assert twin.call(LOOK).ok
        assert twin.specs == sandbox.specs == before
        assert sandbox.call(LOOK).ok
        twin.close()


# During a call.


def test_a_server_that_hangs_is_waited_for_no_longer_than_said() -> None:
    with program(limits=SHORT) as sandbox:
        assert do(sandbox, "hang").error_kind == "time_limit"
        assert sandbox.diff()["calls"]["0"]["after"]["answered"] is False
        assert sandbox.call(LOOK).error_kind == "time_limit"  # it hangs still
        sandbox.restore(())
        assert sandbox.call(LOOK).ok


def test_after_a_hang_a_replayable_server_is_where_it_was() -> None:
    with program(limits=SHORT, replayable=True) as sandbox:
        sandbox.call(ToolCall("write", {"text": "a"}))
        assert do(sandbox, "hang").error_kind == "time_limit"
        assert json.loads(sandbox.call(LOOK).content) == {"texts": {"0": {"text": "a"}}}
        assert len(sandbox.diff()["calls"]) == 1


@pytest.mark.parametrize("what", ["huge", "endless"])
def test_an_answer_beyond_all_bounds_is_dropped(what: str) -> None:
    with program() as sandbox:
        result = do(sandbox, what)
        assert (result.content, result.error_kind) == (None, "output_limit")
        if what == "huge":
            assert sandbox.call(LOOK).ok


@pytest.mark.parametrize("replayable", [False, True])
def test_what_a_call_without_a_proper_answer_has_done_is_not_forgotten(replayable: bool) -> None:
    with program(replayable=replayable) as sandbox:
        sandbox.call(ToolCall("write", {"text": "a"}))
        assert do(sandbox, "huge").error_kind == "output_limit"
        calls = list(sandbox.diff()["calls"].values())
        if replayable:  # a server that has not seen it
            assert len(calls) == 1
        else:
            assert calls[1]["after"] == {"tool": "do", "arguments": {"what": "huge"}, "answered": False}
        assert json.loads(sandbox.call(LOOK).content)["texts"] == {"0": {"text": "a"}}


def test_an_answer_somewhat_beyond_the_limit_is_cut() -> None:
    with program(limits={"output": 1001}) as sandbox:
        result = do(sandbox, "big")
        assert (result.content, result.error_kind) == ("é" * 500, "output_limit")
        assert "6000 bytes, 1001 are allowed" in (result.error or "")
        assert sandbox.call(LOOK).ok


@pytest.mark.parametrize("what", ["noise", "stderr", "notes"])
def test_noise_is_not_listened_to(what: str, caplog: pytest.LogCaptureFixture) -> None:
    with program() as sandbox:
        assert (do(sandbox, what).content or "").startswith("after the")
        assert sandbox.call(LOOK).ok
    assert len(caplog.records) < 20


def test_a_server_that_asks_and_asks_is_killed() -> None:
    with program() as sandbox, pytest.raises(SandboxDied, match="more than 1000 requests without an answer"):
        do(sandbox, "requests")


@pytest.mark.parametrize(("what", "kind"), [("malformed", "bad_answer"), ("wrong-shape", "bad_result")])
def test_an_answer_that_is_none_is_the_servers_failure(what: str, kind: str) -> None:
    with program() as sandbox:
        with pytest.raises(InfrastructureError) as caught:
            do(sandbox, what)
        assert (caught.value.kind, caught.value.tool) == (kind, "do")
        assert sandbox.call(LOOK).ok


@pytest.mark.parametrize(("what", "told"), [("forged", "true"), ("twice", "first")])
def test_answers_nobody_waits_for_are_not_heard(what: str, told: str) -> None:
    with program() as sandbox:
        assert do(sandbox, what).content == told
        assert json.loads(sandbox.call(LOOK).content) == {"texts": {}}


@pytest.mark.parametrize("what", ["die", "killed"])
def test_a_server_that_dies_in_a_call_is_told_at_once(what: str) -> None:
    with program() as sandbox:
        with pytest.raises(SandboxDied):
            do(sandbox, what)
        with pytest.raises(SandboxDied, match="begins anew"):
            sandbox.call(LOOK)
        sandbox.restore(())
        assert sandbox.call(LOOK).ok


def test_one_bad_server_does_not_hold_up_another() -> None:
    """All sessions of synchronous callers share one thread."""
    with program() as good, program(limits={"wall_seconds": 5}) as bad:
        done = threading.Event()

        def flood() -> None:
            do(bad, "endless")
            done.set()

        thread = threading.Thread(target=flood)
        thread.start()
        answers = [good.call(LOOK) for _ in range(50)]
        thread.join()
        assert all(one.ok for one in answers)
        assert done.is_set()


# Over HTTP.

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@contextmanager
def http_server(call: Answer) -> Iterator[str]:
    """A server that behaves until a tool is called, and then as told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            method = message.get("method")
            about = {"name": "http", "version": "1"}
            if method == "initialize":
                result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
                reply(self, message, {"result": result})
            elif method == "tools/list":
                reply(self, message, {"result": {"tools": [{"name": "do", "inputSchema": {"type": "object"}}]}})
            elif method == "tools/call":
                try:
                    call(self, message)
                except OSError:
                    self.close_connection = True  # the client has had enough
            elif "id" in message:
                reply(self, message, {"error": {"code": -32601, "message": "Method not found"}})
            else:
                raw(self, 202, b"")

        def do_GET(self) -> None:
            raw(self, 405, b"")

        def do_DELETE(self) -> None:
            time.sleep(20)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def raw(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "application/json") -> None:
    handler.send_response(status)
    handler.send_header("Mcp-Session-Id", "s1")
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def reply(handler: BaseHTTPRequestHandler, message: dict[str, Any], fields: dict[str, Any]) -> None:
    raw(handler, 200, json.dumps({"jsonrpc": "2.0", "id": message["id"], **fields}).encode())


def words(text: str) -> dict[str, Any]:
    return {"result": {"content": [{"type": "text", "text": text}]}}


def stream(handler: BaseHTTPRequestHandler, parts: Iterator[bytes]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    for part in parts:
        handler.wfile.write(part)
        handler.wfile.flush()


def spam() -> Iterator[bytes]:
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "x" * 1000}}
    while True:
        yield f"event: message\ndata: {json.dumps(note)}\n\n".encode()


def one_event_without_end() -> Iterator[bytes]:
    yield b"event: message\ndata: "
    while True:
        yield b"x" * 65536


def drop(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
    handler.close_connection = True
    handler.connection.close()


HTTP: dict[str, tuple[Answer, str | type[InfrastructureError]]] = {
    "answers": (lambda handler, message: reply(handler, message, words("fine")), "ok"),
    "hangs": (lambda handler, message: time.sleep(3), "time_limit"),
    "huge": (lambda handler, message: reply(handler, message, words("x" * (1 << 20))), "output_limit"),
    "too big": (lambda handler, message: reply(handler, message, words("x" * 20_000)), "output_limit"),
    "spams": (lambda handler, message: stream(handler, spam()), "output_limit"),
    "one endless event": (lambda handler, message: stream(handler, one_event_without_end()), "output_limit"),
    "a stream that ends": (lambda handler, message: stream(handler, iter([b": hello\n\n"])), InfrastructureError),
    "no JSON": (lambda handler, message: raw(handler, 200, b"<html>"), InfrastructureError),
    "a page": (lambda handler, message: raw(handler, 200, b"<html>", "text/html"), InfrastructureError),
    "status 500": (lambda handler, message: raw(handler, 500, b"oops"), InfrastructureError),
    "another's answer": (lambda handler, message: reply(handler, {"id": 10_000}, words("x")), "time_limit"),
    "drops the connection": (drop, InfrastructureError),
}


@pytest.mark.parametrize("what", HTTP)
def test_a_bad_server_over_http(what: str) -> None:
    answer, expected = HTTP[what]
    with http_server(answer) as url:
        sandbox = make_sandbox("mcp", url=url, limits={"wall_seconds": 2, "output": 10_000})
        sandbox.start()
        if isinstance(expected, str):
            assert (sandbox.call(ToolCall("do")).error_kind or "ok") == expected
        else:
            with pytest.raises(expected):
                sandbox.call(ToolCall("do"))
        assert isinstance(sandbox, McpSandbox)
        session = sandbox._held.session
        sandbox.close()  # which this server never takes note of
        assert session is None or session.ended.is_set()


def test_calls_over_http_are_sent_at_most_once() -> None:
    sent: list[str] = []

    def count(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        sent.append(message["method"])
        if len(sent) == 1:
            drop(handler, message)
        else:
            reply(handler, message, words("again"))

    with http_server(count) as url, make_sandbox("mcp", url=url) as sandbox:
        with pytest.raises(SandboxDied):
            sandbox.call(ToolCall("do"))
        assert sent == ["tools/call"]
        sandbox.restore(())
        assert sandbox.call(ToolCall("do")).content == "again"


def test_headers_go_with_every_request() -> None:
    seen: list[str | None] = []

    def note(handler: BaseHTTPRequestHandler, message: dict[str, Any]) -> None:
        seen.append(handler.headers["Authorization"])
        reply(handler, message, words("fine"))

    with http_server(note) as url, make_sandbox("mcp", url=url, headers={"Authorization": "Bearer x"}) as sandbox:
        assert sandbox.call(ToolCall("do")).content == "fine"
    assert seen == ["Bearer x"]
