"""The inside of a runner without protection, as they are commonly written: `exec`, and a reply over a pipe.

A supervisor reads code and forks a child for each call (or runs it itself, to stay alive between calls); the code runs
in the runner's own interpreter, with everything that the host has given it, and the reply is pickled. Started by
`naive.py`.
"""

import contextlib
import glob  # noqa: F401  and others: what a probe may want after it has become a user who cannot read them
import io
import json
import os
import pickle
import shutil  # noqa: F401
import struct
import subprocess  # noqa: F401
import sys
import traceback
from typing import Any


def run(code: str) -> None:
    """One call: the reply is `content`, `error` and whatever the code has left in `result`."""
    out = io.StringIO()
    error = None
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "<call>", "exec"), NAMESPACE)
        except BaseException:
            error = traceback.format_exc()
    send({"content": out.getvalue(), "error": error, "result": NAMESPACE.get("result")})


def send(reply: dict[str, Any]) -> None:
    frame = pickle.dumps(reply)
    os.write(REPLIES, struct.pack("<I", len(frame)) + frame)


NAMESPACE: dict[str, Any] = {"__name__": "__main__"}
REPLIES, STAY, USER = (int(argument) for argument in sys.argv[1:])
if USER:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
for line in sys.stdin:
    child = 0 if STAY else os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    run(json.loads(line))
    if not STAY:
        sys.exit()
