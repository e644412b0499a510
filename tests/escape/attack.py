"""Plays one attack on one sandbox and says which canaries sang.

A process of its own plays the host, because what a sandbox inherits is part of the attack: its secrets are planted
before anything of a sandbox is imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from escape.backends import BACKENDS, Naive
from escape.cases import BY_NAME, Case
from escape.host import Host

GRACE = 3.0
"""Seconds that a call may take beyond its limit: the machines that run this are busy."""
BURST = 256 << 20
"""Bytes that many processes together can take between two looks of whoever watches them."""
WALL, CPU = 20.0, 10.0
TENANT = """
import ctypes, os, socket
tenant_variable = {secret!r}
os.environ["TENANT"] = tenant_variable
with open("tenant.txt", "w") as file:
    file.write(tenant_variable)
try:
    server = socket.socket(socket.AF_UNIX); server.bind("\\0" + {name!r}); server.listen()
    import threading
    def answer():
        while True:
            server.accept()[0].send(tenant_variable.encode())
    threading.Thread(target=answer, daemon=True).start()
except OSError:
    pass
ctypes.CDLL(None).prctl(15, {name!r}.encode(), 0, 0, 0)
print(os.getcwd())
"""
STILL_THERE = "import os\nprint(open('tenant.txt').read(), 6 * 7, globals().get('tenant_variable'))"


def play(case: Case, backend: Any, host: Host, mode: str) -> dict[str, Any]:
    """One attack.

    Returns:
        `hits`: canary -> what it saw; `kind`: how the call ended; `shown`: the end of what it gave back; `seconds`.
    """
    host.arm()
    limits = {"wall_seconds": WALL, "cpu_seconds": CPU, **case.limits}
    target = {**host.target(), **case.tells, "free_port": _free_port()}
    protected = not isinstance(backend, Naive)
    hits: dict[str, str] = {}
    shown, kind, seconds = "", "nothing", 0.0
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(host.watch())
        stack.callback(watch.kill)
        if case.tenant:
            target |= stack.enter_context(_tenant(backend, limits, host, hits))
        stack.enter_context(_company(case, host, target, hits))
        began = time.monotonic()
        try:
            with backend.open(limits, mode, case) as box:
                began = time.monotonic()
                try:
                    result = box.run(f"TARGET = {target!r}\n{case.source}")
                    shown = (result.content or "") + (result.error or "")
                    kind = result.error_kind
                    if (result.content or "").strip() == target["forged"]:
                        hits["forged"] = "the host took the attacker's word for the sandbox's"
                except TimeoutError as error:
                    hits["time"] = repr(error)
                    shown = box.printed()
                except Exception as error:
                    hits["infrastructure"] = repr(error)[:300]
                if case.after is not None:
                    shown += _bounded(
                        case.after, box, target, limits["wall_seconds"] + GRACE if protected else 1.5, hits
                    )
                seconds = time.monotonic() - began
                if mode == "fresh":
                    _count_left(watch, 1.0, hits)
                if not case.elsewhere and (protected or "next" in case.canary):
                    _next(box, hits)
        except Exception as error:
            hits["infrastructure"] = f"open or close: {error!r}"[:300]
        if case.elsewhere and protected:
            with backend.open(limits, mode, case) as box:
                _next(box, hits)
        if protected or "left" in case.canary:
            _count_left(watch, 2.0 if protected else 0.1, hits)
    hits |= host.found(shown)
    if watch.most > limits.get("processes", 64) * 1.5 + 8:
        hits["processes"] = f"{watch.most} processes and threads at one time"
    if watch.memory > limits.get("memory", 512 << 20) * 1.6 + BURST:
        hits["memory_held"] = f"{watch.memory >> 20} MB at one time"
    if seconds > limits["wall_seconds"] + GRACE:
        hits["time"] = f"took {seconds:.1f} s"
    if len(shown) > limits.get("output", 1 << 20) * 2 + 4096:
        hits["output"] = f"{len(shown)} characters came back"
    return {"hits": hits, "kind": kind, "shown": shown[-2000:], "seconds": round(seconds, 3)}


def _next(box: Any, hits: dict[str, str]) -> None:
    try:
        result = box.run("print(6 * 7)")
        if (result.content or "").strip() != "42":
            hits["next"] = f"the next call gave {result.content!r:.200}, {result.error!r:.200}"
    except Exception as error:
        hits["next"] = f"the next call failed: {error!r:.300}"


def _count_left(watch: Any, seconds: float, hits: dict[str, str]) -> None:
    if left := watch.left(seconds):
        hits["left"] = f"still there: {left}"


def _bounded(step: Any, box: Any, target: dict[str, Any], seconds: float, hits: dict[str, str]) -> str:
    """A step of the host in a thread, so that one that hangs is seen to hang."""
    found: list[str] = []

    def work() -> None:
        try:
            found.append(step(box, target))
        except Exception as error:
            found.append("")
            hits["infrastructure"] = f"the host's own step failed: {error!r}"[:300]

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not found:
        hits["time"] = f"the host itself hung for {seconds} s"
    return "".join(found)


@contextlib.contextmanager
def _company(case: Case, host: Host, target: dict[str, Any], hits: dict[str, str]) -> Iterator[None]:
    """What happens on the host meanwhile: talk on loopback, and somebody who dials the port that the attacker opens."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.02):
            if "wire" in case.canary:
                host.listeners.chatter()
            if "dialled" in case.canary:
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", target["free_port"]), timeout=0.2) as sock,
                ):
                    sock.settimeout(0.5)
                    if target["token"].encode() in sock.recv(100):
                        hits["dialled"] = "the host got through to the attacker's port"

    thread = threading.Thread(target=work, daemon=True)
    if {"wire", "dialled"} & set(case.canary.split()):
        thread.start()
    yield
    done.set()
    if thread.ident:
        thread.join()


@contextlib.contextmanager
def _tenant(backend: Any, limits: dict[str, Any], host: Host, hits: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Another user's sandbox, with something to lose."""
    name = f"ten{host.token[3:]}"
    secret = host.secrets.get("tenant") or host._secret("tenant")
    with backend.open(limits, "session", None) as other:
        work = (other.run(TENANT.format(secret=secret, name=name)).content or "").strip()
        yield {
            "tenant_work": backend.outside(other, work),
            "tenant_socket": name,
            "tenant_pids": [*_named(name), 1],
        }
        try:
            told = other.run(STILL_THERE)
            if (told.content or "").split()[:2] != [secret, "42"]:
                hits["tenant"] = f"the other sandbox says {told.content!r:.200}, {told.error!r:.200}"
        except Exception as error:
            hits["tenant"] = f"the other sandbox is gone: {error!r:.200}"


def _named(name: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as file:
            if file.read().strip() == name:
                found.append(int(pid))
    return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def main() -> None:
    """Plays what comes in as lines {"case": NAME, "mode": MODE}, and answers each with one. Started by `drive.py`."""
    with Host() as host:
        backend = BACKENDS[sys.argv[1]]()  # imports the sandbox, now that all secrets are in place
        print(json.dumps({"fault": backend.fault()}), flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(play(BY_NAME[request["case"]], backend, host, request["mode"])), flush=True)
