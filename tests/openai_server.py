"""A chat endpoint that speaks OpenAI's protocol over real HTTP on the loopback interface, scripted by tests.

A script is asked for a `Reply` to each request. Before that the server checks the request as strictly as the
published API does (every call answered, by its id, before anyone speaks again); a test in which a request was no valid
chat fails when the server ends, whatever it is about. `oracle_model` is a script that plays a task's gold trace.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tir_gym.dialects import get_dialect
from tir_gym.env import ToolEnv

PROMPT_TOKENS, COMPLETION_TOKENS = 11, 7
"""What each completion reports as its cost."""


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    body: Any
    """Sent as JSON, or as it is if bytes."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before the answer begins."""
    cut: int | None = None
    """Break the connection after this many bytes of the body."""


Script = Callable[[dict[str, Any], int], Reply]
"""From the request's body and its number, counted from 0, to the answer."""


@dataclass
class Seen:
    """A request that came in."""

    at: float
    """Seconds on a monotonic clock."""
    body: dict[str, Any]
    headers: dict[str, str]
    """By name, in lower case."""


class OpenAIServer:
    """Serves until its `with` block ends; `requests` holds the chat requests so far."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Seen] = []
        self.rejections: list[str] = []
        """Why requests were refused as no valid chat."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()

        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet, else each answer waits for an acknowledgement

            def do_GET(self) -> None:
                if self.path == "/v1/models":
                    server._send(self, Reply({"object": "list", "data": [{"id": "scripted", "object": "model"}]}))
                else:
                    server._send(self, error_reply(404, f"no path {self.path}"))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/v1/chat/completions":
                    server._send(self, error_reply(404, f"no path {self.path}"))
                    return
                server._send(self, server._answer(body, {name.lower(): value for name, value in self.headers.items()}))

            def log_message(self, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if error is None:
            assert self.rejections == []

    def _answer(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        with self._lock:
            number = len(self.requests)
            self.requests.append(Seen(time.monotonic(), body, headers))
        fault = fault_of(body)
        if fault:
            self.rejections.append(fault)
            return error_reply(400, fault)
        return self.script(body, number)

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.delay:
            self._stopping.wait(reply.delay)
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        try:
            handler.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data if reply.cut is None else data[: reply.cut])
            if reply.cut is not None:
                handler.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the client has given up


def completion(message: Mapping[str, Any], finish_reason: str = "stop") -> Reply:
    """A chat completion with that message as its only choice."""
    return Reply(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "scripted",
            "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}],
            "usage": {
                "prompt_tokens": PROMPT_TOKENS,
                "completion_tokens": COMPLETION_TOKENS,
                "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
            },
        }
    )


def error_reply(status: int, message: str, *, code: str | None = None, **headers: str) -> Reply:
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return Reply(body, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def tool_call(name: str, arguments: str, id: str | None = "call_a") -> dict[str, Any]:
    """An entry of `tool_calls`; the arguments as text, so that they may be anything."""
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if id is None else {"id": id, **call}


def oracle_model(env: ToolEnv, task: str) -> Script:
    """A model that does the task right, in the environment's dialect.

    It keeps nothing: where it stands it reads from the number of its own messages in the request.
    """
    _, info = env.reset(options={"task": task})
    script = info["oracle"].script()
    native = env.dialect.name == "openai"

    def answer(request: dict[str, Any], _: int) -> Reply:
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        text, calls = script[turn]
        if not native:
            return completion({"content": get_dialect(env.dialect.name).render(text, calls)})
        entries = [
            tool_call(call.name, json.dumps(call.arguments), id=f"model_{turn}_{i}") for i, call in enumerate(calls)
        ]
        return completion({"content": text or None, "refusal": None, **({"tool_calls": entries} if entries else {})})

    return answer


def in_turn(*replies: Reply | Script) -> Script:
    """One reply or script for each request; the last one for all further ones."""

    def answer(request: dict[str, Any], number: int) -> Reply:
        reply = replies[min(number, len(replies) - 1)]
        return reply if isinstance(reply, Reply) else reply(request, number)

    return answer


def fault_of(request: Mapping[str, Any]) -> str:
    """Why the request is no valid chat; empty if it is one."""
    if not isinstance(request.get("model"), str) or not request["model"]:
        return "model must be a string"
    if "tools" in request and not request["tools"]:
        return "tools must not be empty"
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages must be a list that is not empty"
    open_calls: set[str] = set()
    for i, message in enumerate(messages):
        role = message.get("role")
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                return f"messages[{i}]: tool_call_id {message.get('tool_call_id')!r} answers no call"
            open_calls.remove(message["tool_call_id"])
            continue
        if open_calls:
            return f"messages[{i}]: calls {sorted(open_calls)} are not answered"
        if role not in ("system", "user", "assistant"):
            return f"messages[{i}]: no role {role!r}"
        calls = message.get("tool_calls")
        if calls is not None:
            if role != "assistant" or not isinstance(calls, list) or not calls:
                return f"messages[{i}]: tool_calls must be a list that is not empty, of an assistant"
            open_calls = {call["id"] for call in calls}
            if len(open_calls) != len(calls):
                return f"messages[{i}]: two calls of one id"
        elif not isinstance(message.get("content"), str):
            return f"messages[{i}]: content must be a string"
    return f"calls {sorted(open_calls)} are not answered" if open_calls else ""
