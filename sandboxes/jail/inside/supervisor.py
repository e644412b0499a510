"""The supervisor of a slot: takes requests from the host one at a time, runs what they ask for, keeps it to its limits.

It is process 1 of the slot's namespace (or of a container), so whatever the agent's code leaves behind is its to end.
It reads all output itself and never runs the agent's code in its own process. Requests and replies are in
`jail/slot.py`.
"""

from __future__ import annotations

import functools
import gc
import os
import select
import signal
from collections.abc import Callable
from typing import Any

from . import interpreter
from .files import Tree
from .fresh import Fresh, Nursery
from .output import Feed, Output
from .processes import Processes, cpu_clock
from .running import Call, HostGone
from .saving import Saved
from .sessions import Notebook, Sessions
from .starting import Place, Starter
from .walking import Refused
from .watch import Watch
from .wire import Broken, Channel

MOST_SNAPSHOTS = 256
IDLE_SECONDS = 0.05
"""After a call a notebook may go on by itself this long; then all that still runs is stopped until the next call."""
LONG_CALL = 0.002
"""Seconds in which no child can be started, waited for and worth counting."""


class Supervisor:
    """Serves one slot until the host closes the channel.

    Args:
        channel: To the host.
        place: Where everything is.
        limits: `Limits` as a dict.
    """

    def __init__(self, channel: Channel, place: Place, limits: dict[str, Any]) -> None:
        self._channel = channel
        self._limits = limits
        self._work = place.writable[0]
        self._processes = Processes(place.proc, init=place.init)
        self._starter = Starter(place, self._processes, limits["disk"])
        self._sessions = Sessions(self._starter, self._processes)
        self._nursery = Nursery(self._starter, self._processes)
        self._tree = Tree(place.writable, place.vault)
        self._bounded = place.bounded
        self._extent = (0, 0)
        """Bytes and files on the disk after the last call, where it is watched."""
        self._most_files = place.files
        self._files = 0
        self._trees: dict[int, Saved] = {}
        self._snapshots: dict[int, int | None] = {}
        self._number = 0
        self._rss = 0
        """Bytes of memory of the notebook after the last call that took long enough to look."""
        self._stirring = False
        """Whether something may still run although no call does."""
        self._frozen = False
        self._idle = select.poll()
        self._idle.register(channel.reads, select.POLLIN)
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "call": self._call,
            "run": self._run,
            "snapshot": self._snapshot,
            "restore": self._restore,
            "drop": self._drop,
            "write": self._write,
            "read": self._read,
            "tree": self._look,
            "pack": self._pack,
            "unpack": self._unpack,
            "ping": self._ping,
        }

        gc.freeze()

    def serve(self) -> None:
        """Answer requests until the host is gone. Ends all processes of the slot before it returns."""
        try:
            while True:
                self._rest()
                request = self._channel.receive()
                if request is None:
                    break
                reply = self._answer(request)
                reply["n"] = request.get("n")
                self._channel.send(reply)
        except (Broken, HostGone, ConnectionError):
            pass
        finally:
            self._processes.kill()

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = self._operations.get(request.get("op", ""))
        if operation is None:
            return {"error": f"no operation {request.get('op')!r}", "kind": "refused"}
        try:
            return operation(request)
        except Refused as refusal:
            return {"error": str(refusal), "kind": refusal.kind}
        except KeyError as missing:
            return {"error": f"{request['op']}: the field {missing} is missing", "kind": "refused"}

    # Requests.

    def _ping(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), "session": self._sessions.current is not None, "snapshots": len(self._snapshots)}

    def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("mode", "session") == "session":
            return self._in_session(request)
        limits = self._limits_of(request)
        code = request["code"].encode("utf-8", "surrogatepass")
        before, others = self._alone()
        fresh = self._nursery.script(limits, others)
        call = self._begin(limits, fresh)
        nonce = os.urandom(16)
        fresh.process.order(b"c", nonce, _seed(request) or 0, code)
        return self._finish(call, fresh, before, nonce, ahead=request.get("ahead") is True)

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        argv = [str(part) for part in request["argv"]]
        environment = {**os.environ, **(request.get("env") or {})}
        folder = os.path.join(self._work, request.get("cwd") or ".")

        def program() -> None:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            try:
                os.chdir(folder)
                os.execvpe(argv[0], argv, environment)
            except (OSError, ValueError) as error:
                text = getattr(error, "strerror", None) or str(error)
                os.write(2, f"{argv[0]}: {text}\n".encode("utf-8", "replace"))
                os._exit(126 if isinstance(error, PermissionError) else 127)

        limits = self._limits_of(request)
        stdin, feed = self._starter.null, None
        if request.get("stdin"):
            stdin, feed_end = os.pipe()
            feed = Feed(feed_end, request["stdin"].encode("utf-8", "surrogatepass"))
        before, others = self._alone()
        fresh = self._nursery.program(limits, others, stdin, program)
        if feed is not None:
            os.close(stdin)
        return self._finish(self._begin(limits, fresh), fresh, before, None, feed)

    def _write(self, request: dict[str, Any]) -> dict[str, Any]:
        self._still()
        self._tree.write(request["files"])
        return {"ok": True}

    def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._tree.read(request["path"], int(request.get("max") or self._limits["disk"]))

    def _look(self, request: dict[str, Any]) -> dict[str, Any]:
        self._still()
        reply: dict[str, Any] = {"tree": self._tree.look()}
        return {**reply, "untouched": self._tree.untouched()} if request.get("marks") else reply

    def _pack(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("id") is None:
            self._still()
            return {"tar": self._tree.pack()}
        self._found(request)
        return {"tar": self._tree.pack_saved(self._trees[request["id"]])}

    def _unpack(self, request: dict[str, Any]) -> dict[str, Any]:
        self._still()
        self._tree.unpack(request["tar"], only_work=not request.get("wipe"))
        return {"ok": True}

    def _snapshot(self, request: dict[str, Any]) -> dict[str, Any]:
        if len(self._snapshots) >= MOST_SNAPSHOTS:
            raise Refused(f"{MOST_SNAPSHOTS} snapshots are kept already; drop some")
        self._still()
        saved = self._tree.save()
        self._wake()
        self._number += 1
        number = self._number
        self._trees[number] = saved
        live = self._sessions.current is not None
        if live and not self._sessions.keep(number):
            self._sessions.end()
        self._snapshots[number] = number if live else None
        self._stirring = live
        return {"id": number, "session": live and self._sessions.current is not None}

    def _restore(self, request: dict[str, Any]) -> dict[str, Any]:
        number = self._found(request)
        self._nursery.drop()
        if self._processes.kill(self._sessions.picture_pids()) or self._frozen:
            self._processes.thaw()
        self._sessions.go_back(self._snapshots[number])
        self._tree.put_back(self._trees[number])
        self._frozen, self._stirring = False, True
        return {"ok": True, "lost": self._sessions.lost}

    def _drop(self, request: dict[str, Any]) -> dict[str, Any]:
        number = self._found(request)
        self._sessions.drop(number)
        os.close(self._trees.pop(number).fd)
        del self._snapshots[number]
        return {"ok": True}

    def _found(self, request: dict[str, Any]) -> int:
        number = request.get("id")
        if not isinstance(number, int) or number not in self._snapshots:
            raise Refused(f"no snapshot {number!r} in this slot", "missing")
        return number

    # Calls.

    def _alone(self) -> tuple[set[int], int]:
        """Make way for a process of which nothing stays but files: what is there, and how many processes that is."""
        before = self._hold()
        self._processes.forget()
        return before, sum(use.threads for use in map(self._processes.usage, before) if use is not None)

    def _begin(self, limits: dict[str, Any], fresh: Fresh) -> Call:
        pid = fresh.process.pid
        watch = self._watch(limits, {pid: cpu_clock(pid)})
        return Call(limits, Output(fresh.out, fresh.err, limits["output"]), watch, self._channel.reads)

    def _finish(
        self,
        call: Call,
        fresh: Fresh,
        before: set[int],
        nonce: bytes | None,
        feed: Feed | None = None,
        ahead: bool = False,
    ) -> dict[str, Any]:
        """Wait for the end of a call in a process of its own, and end all that it leaves."""
        told = call.wait(fresh.process.ended, fresh.process.control.fileno(), before, feed)
        at_once = self._processes.init and not before
        if at_once:
            self._processes.doom()
        else:
            self._frozen = self._processes.kill(before) or self._frozen
        if ahead and not before:
            self._nursery.prepare(call.limits)  # meanwhile the others give back their memory
        if at_once:
            self._processes.bury(self._nursery.pid())
            self._frozen = self._stirring = False  # nothing is left
        code = os.waitstatus_to_exitcode(self._processes.wait(fresh.process.pid))
        call.output.drain()
        fresh.close()
        self._judge(call, told, nonce, code)
        cpu = max(call.watch.cpu, self._processes.reaped_cpu - call.watch.reaped_before)
        rss = max(call.watch.memory, self._processes.largest)
        return call.reply(cpu, rss, lost=False)

    def _in_session(self, request: dict[str, Any]) -> dict[str, Any]:
        limits = self._limits_of(request)
        self._nursery.drop()
        self._wake()
        seed = _seed(request)
        lost = self._sessions.lost
        self._processes.forget()
        notebook = self._sessions.begin(limits, seed or 0)
        watch = self._watch(limits, {notebook.pid: self._sessions.total_cpu()})
        call = Call(limits, Output(*self._sessions.outputs(), limits["output"]), watch, self._channel.reads)
        nonce = os.urandom(16)
        code = request["code"].encode("utf-8", "surrogatepass")
        told = b""
        if notebook.order(b"c", nonce, 0 if seed is None else seed + 1, code):
            told = call.wait(notebook.ended, notebook.control.fileno(), self._sessions.picture_pids())
        call.output.drain()
        long = call.elapsed() > LONG_CALL
        cpu = max(watch.cpu, self._sessions.spent(thoroughly=long))
        if long or not self._rss:
            self._rss = self._memory_of(notebook)
        rss = max(watch.memory, self._rss)
        if self._good(told, nonce):
            self._judge(call, told, nonce, None)
            self._sessions.lost = False
        else:
            code_of = self._sessions.end()
            self._frozen = self._processes.kill(self._sessions.pids()) or self._frozen
            call.output.drain(again=True)  # written before it was killed, and none of the next call's
            self._judge(call, b"", nonce, code_of)
            self._sessions.lost = False  # it is told now
            lost = True
        self._stirring = True
        return call.reply(cpu, rss, lost)

    def _judge(self, call: Call, told: bytes, nonce: bytes | None, code: int | None) -> None:
        """Say how a call ended, from what was reported or from the exit code."""
        if not self._bounded:
            call.status = call.status or self._overfull(call.limits)
            self._extent = self._tree.extent()
        if call.status is not None:
            call.code = code if call.code is None else call.code
            return
        if self._crowded():
            call.status, call.code = "file_limit", code
            return
        if nonce is not None and self._good(told, nonce):
            _, end, call.code = interpreter.REPORT.unpack(told)
            call.status = interpreter.ENDS[end]
            if call.status == "disk_limit":
                call.status = self._tree.full() or "disk_limit"
            return
        call.code = code
        if code is not None and code < 0:
            limits = {-signal.SIGXCPU: "cpu_limit", -signal.SIGXFSZ: "disk_limit"}
            call.status = limits.get(code, "died")
            if code == -signal.SIGKILL and call.watch.cpu >= call.limits["cpu_seconds"]:
                call.status = "cpu_limit"
        elif nonce is not None:
            call.status = "died"
        elif code == 0:
            call.status = "ok"
        else:
            call.status = self._full(call.limits) or "raised"

    def _watch(self, limits: dict[str, Any], known: dict[int, float] | None = None) -> Watch:
        starter = self._starter
        place = starter.place
        counted = place.counts or place.bound is not None
        watch = Watch(self._processes, limits, starter.inherited, known or {}, counted, place.janitor)
        if not self._bounded:
            watch.disk = functools.partial(self._overfull, limits)
        return watch

    def _full(self, limits: dict[str, Any]) -> str | None:
        """Which limit of the disk is reached, so that a program that failed may have failed for that."""
        if self._bounded:
            return self._tree.full()
        size, files = self._extent
        return "disk_limit" if size >= limits["disk"] else "file_limit" if files >= limits["files"] else None

    def _overfull(self, limits: dict[str, Any]) -> str | None:
        """Which limit of the disk is exceeded, and by more than before this call, where it does not end by itself."""
        size, files = self._tree.extent()
        if size > max(limits["disk"], self._extent[0]):
            return "disk_limit"
        return "file_limit" if files > max(limits["files"], self._extent[1]) else None

    def _crowded(self) -> bool:
        """Whether there are more files than may be and more than before, on a disk that does not bound them itself."""
        if self._most_files is None:
            return False
        before, self._files = self._files, self._tree.count()
        return self._files > max(before, self._most_files)

    @staticmethod
    def _good(told: bytes, nonce: bytes) -> bool:
        return len(told) == interpreter.REPORT.size and told[:16] == nonce and told[16] < len(interpreter.ENDS)

    def _limits_of(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = request.get("limits")
        if not asked:
            return self._limits
        limits = {**self._limits, **asked}
        limits["output"] = min(limits["output"], self._limits["output"])  # the host has prepared for no more
        return limits

    def _memory_of(self, notebook: Notebook) -> int:
        text = self._processes.read(notebook.pid, "statm").split()
        return int(text[1]) * PAGE if len(text) > 1 else 0

    # What runs between calls.

    def _rest(self) -> None:
        """Wait a moment for the next request; if none comes, stop whatever still runs."""
        if not self._stirring:
            return
        if self._channel.waiting() or self._idle.poll(IDLE_SECONDS * 1000):
            return
        self._stirring = False
        notebook = self._sessions.current
        self._processes.reap()
        others = self._processes.others(self._sessions.pids())
        if notebook is None and not others:
            return
        if not others and notebook is not None:
            use = self._processes.usage(notebook.pid)
            if use is not None and use.threads == 1 and cpu_clock(notebook.pid) < self._sessions.quiet_clock() + 0.001:
                return
        self._processes.freeze()
        self._frozen = True

    def _still(self) -> None:
        """Stop what may still run, so that files keep still while they are looked at."""
        if self._stirring and not self._frozen:
            self._processes.freeze()
            self._frozen = True

    def _wake(self) -> None:
        if self._frozen:
            self._processes.thaw()
            self._frozen = False

    def _hold(self) -> set[int]:
        """Stop what a notebook has left running, so that what comes now can be told from it; all that is there."""
        kept = self._sessions.pids()
        if not kept:
            return kept
        self._processes.reap()
        if not self._frozen and self._processes.others(kept):
            self._processes.freeze()
            self._frozen = True
        return set(self._processes.pids())


def _seed(request: dict[str, Any]) -> int | None:
    seed = request.get("seed")
    return None if seed is None else int(seed) % (1 << 63)


PAGE = os.sysconf("SC_PAGE_SIZE")
