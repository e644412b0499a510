"""A slot: an isolated place with a work folder and an interpreter, driven by requests.

    slot = start_slot(Limits())
    slot.request("call", code="print(1 + 1)")["out"]
    slot.close()

Paths are relative to the work folder (`/work`; where agents begin, their home), or absolute in `/work`, `/tmp` or
`/dev/shm`, which share one small disk. Requests, and what is in the replies:

- `call`: `code`; `mode` `session` (a notebook: variables stay) or `fresh` (an interpreter of its own: only files
  stay); optional `seed` (int) of the `random` module and of numpy's old generator (without it a notebook is seeded
  with 0 when it begins, a fresh call with 0), `limits` (some of `Limits`, for this call; a living notebook keeps its
  `memory` and `disk`), and `ahead` (whether a fresh call shall make the next one's process; without it, where cores
  are free). Reply: `status` (`ok`, `raised`, `died`, `cpu_limit`, `time_limit`, `memory_limit`,
  `process_limit`, `file_limit`, `disk_limit`), `out` and `err` (text, together at most `output` bytes), `truncated`,
  `code` (exit code, negative for a signal, or null), `cpu` and `wall` (seconds), `rss` (bytes), `lost` (the notebook
  is gone and the variables with it; the next call begins another).
- `run`: `argv`, and `stdin` (text), `env` (added to the slot's), `cwd`. Replies like `call`.
- `write`: `files`, path -> `{text | base64, mode}`. `read`: `path`, `max` bytes; replies `base64` and the whole `size`.
- `tree`: replies `tree`, path -> `{kind, mode, size, sha256 | target}` of the work folder; kinds are `file`, `folder`,
  `link`, `pipe`, `other`. With `marks` also `untouched`: whether all is dated and numbered as `unpack` left it.
- `pack`: replies `tar` (base64) of the work folder, or of that of snapshot `id`. `unpack`: `tar`; afterwards the work
  folder holds that and nothing else, and with `wipe` the other folders hold nothing.
- `snapshot`: replies `id`. `restore`: `id`; variables and files are as they were, running processes are ended.
  `drop`: `id`.
- `ping`: replies `session` (whether a notebook lives) and `snapshots` (how many).

What is asked wrongly, or stopped by what the agent did to its files, gets `error` (text) and `kind` (`refused`,
`missing`, `disk_limit`) instead; nothing that the agent's code does raises here.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from tir_gym.errors import SandboxDied, SandboxUnavailable, UsageError
from tir_gym.sandbox import Limits
from tir_gym.sandboxes.jail.inside import wire
from tir_gym.sandboxes.jail.zygote import zygote

GRACE = 15.0
"""Seconds that a slot has to answer, beyond those that a call may take by its limits."""
TIERS = ("A", "B")
_CORES = len(os.sched_getaffinity(0))


class Slot:
    """A running slot. Requests from several threads wait for each other.

    Args:
        end: The socket to it.
        pid: Number of its supervisor on this host.
        outer: Number of the process that ends last.
        limits: What it may use.
        tier: How it is walled in.
        watched: Whether the number of its processes is only looked at now and then.
    """

    def __init__(
        self, end: socket.socket, pid: int, outer: int, limits: Limits, tier: str, watched: bool = False
    ) -> None:
        self.socket = end
        self.pid = pid
        self.limits = limits
        self.tier = tier
        self.watched = watched
        self._number = 0
        self._waits = 0.0
        end.settimeout(None)
        self._largest = (16 << 20) + 6 * limits.output + 3 * limits.disk
        self._lock = threading.Lock()
        self._process = _pidfd(pid)
        janitor = None if outer == pid else _pidfd(outer)
        self._end = weakref.finalize(self, _end, os.getpid(), end, self._process, janitor)
        _open.add(self)

    @property
    def alive(self) -> bool:
        """Whether requests can be made: it is open, and its supervisor has not ended."""
        return self._end.alive and not (self._process is not None and _ended(self._process))

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask for one thing; see the module's text for what.

        Raises:
            SandboxDied: The slot is gone or closed, or does not answer in time, which ends it.
        """
        with self._lock:
            if not self._end.alive:
                raise SandboxDied("the slot is closed")
            self._number += 1
            wall = (fields.get("limits") or {}).get("wall_seconds", self.limits.wall_seconds)
            _asking.add(self)
            ahead = 2 * len(_asking) <= _CORES  # one for who runs the code, one for who makes the next process
            data = wire.frame({"n": self._number, "op": op, "ahead": ahead, **fields})
            try:
                self._patience(wall + GRACE)
                self.socket.sendall(data)
                reply = self._receive()
            except BlockingIOError as error:
                self._end()
                raise SandboxDied(f"the slot did not answer {op!r} within {wall + GRACE:g} s and was ended") from error
            except (OSError, wire.Broken) as error:
                self._end()
                raise SandboxDied(f"the slot is gone: {error}") from error
            finally:
                _asking.discard(self)
            if reply.pop("n", None) != self._number:
                self._end()
                raise SandboxDied("the slot answered something that was not asked, and was ended")
            return reply

    def close(self) -> None:
        """End everything in it. Safe to call twice."""
        self._end()

    def _patience(self, seconds: float) -> None:
        """Let the kernel bound each wait: a timeout of Python's would cost two more system calls for each."""
        if seconds != self._waits:
            bound = struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)
            self._waits = seconds

    def _receive(self) -> dict[str, Any]:
        data = bytearray(self.socket.recv(65536))
        while len(data) < wire.LENGTH.size:
            self._more(data, 65536)
        length = wire.LENGTH.unpack_from(data)[0]
        if length > self._largest:
            raise wire.Broken(f"an answer of {length} bytes")
        end = wire.LENGTH.size + length
        while len(data) < end:
            self._more(data, min(end - len(data), 1 << 20))
        if len(data) > end:
            raise wire.Broken("more than one answer")
        return wire.parse(data[wire.LENGTH.size :])

    def _more(self, data: bytearray, most: int) -> None:
        more = self.socket.recv(most)
        if not more:
            raise wire.Broken("it has closed its end")
        data += more


def start_slot(
    limits: Limits,
    *,
    modules: Iterable[str] = ("numpy",),
    env: Mapping[str, str] | None = None,
    read_only: Iterable[tuple[str, str]] = (),
    program: str | None = None,
    config: Mapping[str, Any] | None = None,
    tier: str = "A",
) -> Slot:
    """Start a slot.

    Args:
        limits: What it may use.
        modules: Imported beforehand, for all slots of this process with the same ones; others can be imported too.
        env: Added to the environment of what runs there. Nothing of this process's environment is in it.
        read_only: Folders and files of the host to show, and where.
        program: Source of a trusted module to run there in place of the supervisor: its `main(socket, config)` is
            called inside the walls, with the other end of `Slot.socket`. When it returns the slot ends.
        config: Passed to `program`; JSON.
        tier: How it is walled in, see `tiers.py`.

    Raises:
        SandboxUnavailable: The host has no such tier (`tier_missing`); the text says why.
        UsageError: A module cannot be imported, or the tier is none.
    """
    if tier not in TIERS:
        raise UsageError(f"tier={tier!r}: choose one of {', '.join(TIERS)}")
    request = {
        "tier": tier,
        "limits": limits.model_dump(),
        "env": dict(env or {}),
        "read_only": [[str(host), str(inside)] for host, inside in read_only],
        "program": program,
        "config": None if config is None else dict(config),
    }
    names = tuple(modules)
    try:
        end, answer = zygote(names, tier).start(request)
    except BrokenPipeError:
        end, answer = zygote(names, tier).start(request)  # it was killed; the next one is new
    if "error" in answer:
        end.close()
        raise SandboxUnavailable(f"tier {tier} cannot be had: {answer['error']}", kind="tier_missing")
    return Slot(end, answer["pid"], answer["outer"], limits, tier, answer["watched"])


def probe_tier(tier: str) -> str | None:
    """Why a tier cannot be had on this host, or None if a slot of it starts and works."""
    try:
        slot = start_slot(Limits(), modules=(), tier=tier)
    except SandboxUnavailable as error:
        return str(error)
    try:
        reply = slot.request("call", code="print(6 * 7)", mode="fresh")
        return None if reply["out"] == "42\n" else f"it starts and then fails: {reply}"
    except SandboxDied as error:
        return f"it starts and then fails: {error}"
    finally:
        slot.close()


def _pidfd(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None


def _ended(process: int, seconds: float = 0.0) -> bool:
    """Whether a process ends within that time."""
    # Not `select`, which takes no descriptor above 1023; a thousand slots need more.
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _end(owner: int, end: socket.socket, process: int | None, janitor: int | None) -> None:
    """Close a slot. A forked process only lets go of its copy."""
    end.close()
    mine = os.getpid() == owner
    if process is not None:
        if mine:  # all others in its namespace end with it; where it has none, the janitor sees to them
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)
    if janitor is not None:
        if mine:
            _ended(janitor, 10.0)
        os.close(janitor)


_open: weakref.WeakSet[Slot] = weakref.WeakSet()
_asking: set[Slot] = set()
"""Those that wait for an answer now."""


def _after_fork() -> None:
    for slot in list(_open):
        slot.close()


os.register_at_fork(after_in_child=_after_fork)
