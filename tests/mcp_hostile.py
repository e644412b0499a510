"""An MCP server that misbehaves as told: `python -I tests/mcp_hostile.py MODE`. Speaks the wire itself, without an SDK.

It offers `write(text)`, `look()` and `do(what)`; what it has been told to write is kept in memory, and each call that
arrives is noted in the file named by `$CALLS`, if there is one, so that a test can count what was really sent.
"""

import json
import os
import signal
import sys
import time

MODE = sys.argv[1] if len(sys.argv) > 1 else "good"
WRITTEN = []

TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
NOTHING = {"type": "object", "properties": {}}


def tools(listings):
    found = [
        {"name": "write", "description": "Keep a text.", "inputSchema": TEXT},
        {"name": "look", "description": "All texts.", "inputSchema": NOTHING, "annotations": {"readOnlyHint": True}},
        {"name": "do", "inputSchema": {"type": "object", "properties": {"what": {"type": "string"}}}},
    ]
    if MODE == "bad-tools":
        found += [
            {"name": "has space", "inputSchema": NOTHING},
            {"name": "look", "inputSchema": NOTHING},
            {"name": "text", "inputSchema": {"type": "string"}},
            {"name": "broken", "inputSchema": {"type": "object", "properties": {"a": {"type": "whole number"}}}},
            {"name": "far", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/a"}}}},
            {"name": "nowhere", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}},
            {"name": "deep", "inputSchema": deep(40)},
        ]
    if MODE == "only-bad":
        found = [{"name": "has space", "inputSchema": NOTHING}]
    if MODE == "slow-schemas":
        evil = {"type": "string", "pattern": "^(a+)+$"}
        twice = {"d0": {"type": "string", "minLength": 100}}
        for i in range(1, 60):
            twice[f"d{i}"] = {"allOf": [{"$ref": f"#/$defs/d{i - 1}"}, {"$ref": f"#/$defs/d{i - 1}"}]}
        circle = {"$ref": "#/$defs/circle"}
        found += [
            {"name": "backtrack", "inputSchema": {"type": "object", "properties": {"text": evil}}},
            {
                "name": "names",
                "inputSchema": {"type": "object", "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
            },
            {
                "name": "laughs",
                "inputSchema": {"type": "object", "$defs": twice, "properties": {"text": {"$ref": "#/$defs/d59"}}},
            },
            {
                "name": "circle",
                "inputSchema": {"type": "object", "$defs": {"circle": circle}, "properties": {"text": circle}},
            },
        ]
    if MODE == "lies":
        found[1]["outputSchema"] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    if MODE == "changing" and listings:
        found = found[2:]
    return found


def deep(n):
    node = {"type": "string"}
    for _ in range(n):
        node = {"type": "object", "properties": {"a": node}}
    return node


def main():
    listings = 0
    if MODE == "mute":
        time.sleep(1000)
    if MODE == "exits":
        sys.stderr.write("no configuration found\n")
        sys.exit(3)
    if MODE == "babbles":
        while True:
            sys.stdout.write("starting up, please wait\n")
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:  # a daemon that has left the session and holds no pipe
            os.setsid()
            if os.fork():
                os._exit(0)
            for descriptor in (0, 1, 2):
                os.close(descriptor)
            time.sleep(1000)
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if number is None:
            continue
        if method == "initialize":
            version = "1999-01-01" if MODE == "wrong-version" else "2025-06-18"
            about = {"name": "hostile", "version": "1"}
            answer(number, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": about})
        elif method == "tools/list":
            if MODE == "endless-pages":
                answer(number, {"tools": [], "nextCursor": "again"})
            elif MODE == "pages":
                at = int((message.get("params") or {}).get("cursor") or 0)
                page = {"tools": tools(0)[at : at + 1]}
                answer(number, page if at == 2 else {**page, "nextCursor": str(at + 1)})
            elif MODE == "no-list":
                answer(number, {"tools": "none"})
            else:
                answer(number, {"tools": tools(listings)})
                listings += 1
        elif method == "tools/call":
            call(number, message["params"]["name"], message["params"].get("arguments") or {})
        else:
            send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "Method not found"}})
    if MODE == "stubborn":
        time.sleep(1000)


def call(number, name, arguments):
    if os.environ.get("CALLS"):
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(f"{name}\n")
    if name == "write":
        WRITTEN.append(arguments["text"])
        text(number, f"{len(WRITTEN)} kept")
    elif name == "look":
        text(number, json.dumps({"texts": {str(i): {"text": one} for i, one in enumerate(WRITTEN)}}))
    elif name == "do":
        do(number, arguments.get("what", ""))
    else:
        text(number, "called")


def reach(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True


def connect(port):
    import socket

    socket.create_connection(("127.0.0.1", port), 5).close()


def do(number, what):
    if what == "hang":
        time.sleep(1000)
    elif what == "die":
        sys.stderr.write("out of memory, or so\n")
        sys.stderr.flush()
        os._exit(7)
    elif what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "huge":
        text(number, "x" * (64 << 20))
    elif what == "big":
        text(number, "é" * 3000)
    elif what == "endless":
        sys.stdout.write(f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[{{"type":"text","text":"')
        while True:
            sys.stdout.write("x" * 65536)
    elif what == "noise":
        for _ in range(3000):
            sys.stdout.write("debug: this is no message\n\x00\xff{}\n[]\n".encode("latin-1").decode("latin-1"))
        text(number, "after the noise")
    elif what == "stderr":
        for _ in range(300):
            sys.stderr.write("spam " * 10000)
        text(number, "after the spam")
    elif what == "notes":
        for _ in range(3000):
            send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "error", "data": "spam"}})
        send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        text(number, "after the notes")
    elif what == "requests":
        i = 0
        while True:
            i += 1
            send({"jsonrpc": "2.0", "id": f"s{i}", "method": "ping"})
    elif what == "malformed":
        sys.stdout.write(f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[{{"type"\n')
        sys.stdout.flush()
    elif what == "wrong-shape":
        answer(number, {"content": "no list"})
    elif what == "forged":
        for other in range(1, 100):
            if other != number:
                text(other, "forged")
        text(number, "true")
    elif what == "twice":
        text(number, "first")
        text(number, "second")
    elif what == "invalid":
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32602, "message": "what: no such thing"}})
    elif what == "bug":
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": "oops"}})
    elif what == "refuse":
        answer(number, {"content": [{"type": "text", "text": "not today"}], "isError": True})
    elif what == "silent-refusal":
        answer(number, {"content": [], "isError": True})
    elif what == "blocks":
        picture = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
        link = {"type": "resource_link", "uri": "file:///a", "name": "a"}
        inside = {"type": "resource", "resource": {"uri": "file:///b", "text": "b"}}
        answer(number, {"content": [{"type": "text", "text": "see"}, picture, link, inside]})
    elif what == "structured":
        answer(number, {"content": [{"type": "text", "text": '{"n": 1}'}], "structuredContent": {"n": 1}})
    elif what == "environment":
        fds = sorted(int(name) for name in os.listdir("/proc/self/fd"))
        text(number, json.dumps({"environ": dict(os.environ), "cwd": os.getcwd(), "fds": fds}))
    elif what.startswith("reach "):
        _, path, port = what.split(" ")
        text(number, json.dumps([reach(lambda: open(path).close()), reach(lambda: connect(int(port)))]))
    elif what == "litter":
        with open(os.path.join(os.environ["HOME"], "litter"), "w") as file:
            file.write("litter")
        text(number, os.environ["HOME"])
    elif what == "pid":
        text(number, str(os.getpid()))
    else:
        text(number, "done")


def text(number, words):
    answer(number, {"content": [{"type": "text", "text": words}]})


def answer(number, result):
    send({"jsonrpc": "2.0", "id": number, "result": result})


def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


main()
