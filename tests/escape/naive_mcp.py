"""An MCP client without protection: it asks a server one thing, and takes the next line for the answer.

`python naive_mcp.py MODE WHAT` prints what it took for the result of the call `do(WHAT)`.
"""

import json
import subprocess
import sys
from pathlib import Path


def main(mode, what):
    program = [sys.executable, "-I", str(Path(__file__).parent.parent / "mcp_hostile.py"), mode]
    server = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ask(number, method, **params):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())["result"]

    about = {"name": "naive", "version": "1"}
    ask(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=about)
    page = ask(2, "tools/list")
    while "nextCursor" in page:
        page = ask(2, "tools/list", cursor=page["nextCursor"])
    for tool in page["tools"]:
        check(tool["inputSchema"], tool["inputSchema"])
    print(ask(3, "tools/call", name="do", arguments={"what": what})["content"][0]["text"], end="")


def check(schema, whole):
    """Follow every reference of a schema, as validators do."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == "$ref":
            place = whole
            for step in value.removeprefix("#/").split("/"):
                place = place[step]
            check(place, whole)
        elif isinstance(value, list):
            for part in value:
                check(part, whole)
        else:
            check(value, whole)


if __name__ == "__main__":
    main(*sys.argv[1:])
