"""Sessions: an environment each, and the rule that makes a request run at most once whatever the network does.

A session belongs to no connection: whoever has its token may use it, over WebSocket, HTTP or MCP, one request at a
time. It is closed when its client says so, when nobody has used it for long, or a while after the connection that it
was last used over has dropped.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from tir_gym.env import ToolEnv
from tir_gym.errors import UsageError
from tir_gym.sandboxes.state import StateSandbox

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """What clients may use together and each."""

    sessions: int = 2000
    """Open at one time. Each may keep a thread busy, so a slow tool costs another session nothing but that."""
    snapshots: int = 256
    """Kept at one time for a session and its forks together."""
    turns: int = 1000
    """Of an episode, at most, where the client chooses; a server keeps an episode whole."""
    idle: float = 1800.0
    """Seconds after which a session that nobody uses is closed."""
    grace: float = 60.0
    """Seconds for which a session outlives the connection that it was last used over."""
    message: int = 4 << 20
    """Bytes of one message."""

    def __post_init__(self) -> None:
        for name in ("sessions", "snapshots", "turns", "idle", "grace", "message"):
            value = getattr(self, name)
            if not value > 0:
                raise UsageError(f"{name}={value}: give more than 0")


class NoRoom(Exception):
    """A bound is reached."""


@dataclass(eq=False)
class Family:
    """A session and the forks that come from it: they share the room for snapshots, and these live as long as one."""

    alive: int = 0
    snapshots: set[str] = field(default_factory=set)


@dataclass(eq=False)
class Session:
    """One environment, and what is needed to run each request once."""

    token: str
    env_id: str
    env: ToolEnv
    family: Family
    chosen: frozenset[str] = frozenset()
    """Names of the options that its client chose."""
    last_id: int = 0
    """Number of the request that ran last."""
    last_op: str = ""
    """What it was."""
    reply: str = ""
    """What it got back."""
    running: int | None = None
    """Number of the request that runs in a thread."""
    pending: asyncio.Future[Any] | None = None
    """What is running in a thread for this session, a request or a call that came another way."""
    at_once: bool = False
    """Whether steps are known to be quick, so that they run without a thread; see `runs_at_once`."""
    open: bool = True
    used: float = field(default_factory=time.monotonic)
    connection: Any = None
    """The connection that it was used over last, while that stands; `None` over HTTP."""
    dropped: float | None = None
    """When that connection dropped."""


def runs_at_once(env: ToolEnv) -> bool:
    """Whether steps of the running episode may run in the event loop: tools of ours on plain data in this process.

    Such a step takes well under a millisecond, which a hop to a thread would double. Tools of anybody else's, and
    whatever waits for a process or a database, run in threads.
    """
    return type(env).__module__.startswith("tir_gym.envs.") and type(env.sandbox) is StateSandbox


class Sessions:
    """All sessions of a process. Its methods may be called from any thread."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._snapshots: dict[str, tuple[Any, Family]] = {}
        self._open = 0

    def __len__(self) -> int:
        """How many are open."""
        return self._open

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def get(self, token: str) -> Session | None:
        """The session of that token, also one that was closed a moment ago."""
        return self._sessions.get(token)

    def check_room(self) -> None:
        """Look before an environment is made.

        Raises:
            NoRoom: No session can be opened now.
        """
        if self._open >= self.bounds.sessions:
            raise NoRoom(f"all {self.bounds.sessions} sessions of this server are in use; try again later")

    def open(self, env_id: str, env: ToolEnv, family: Family | None = None, chosen: Collection[str] = ()) -> Session:
        """A new session.

        Raises:
            NoRoom: There are too many; the environment is closed.
        """
        session = Session(secrets.token_urlsafe(16), env_id, env, family or Family(), frozenset(chosen))
        with self._lock:
            room = self._open < self.bounds.sessions
            if room:
                self._open += 1
                session.family.alive += 1
                self._sessions[session.token] = session
        if not room:
            env.close()
            self.check_room()
        return session

    def close(self, session: Session) -> None:
        """Close a session and its environment; it is known until `forget`, for who asks again."""
        if self.retire(session):
            self.shut(session)

    def retire(self, session: Session) -> bool:
        """Take a session out of use, its environment still to be shut; whether it was in use."""
        with self._lock:
            if not session.open:
                return False
            session.open = False
            self._open -= 1
            session.family.alive -= 1
            if not session.family.alive:
                for token in session.family.snapshots:
                    self._snapshots.pop(token, None)
                session.family.snapshots.clear()
        return True

    def shut(self, session: Session) -> None:
        """Close the environment of a session that is out of use."""
        try:
            session.env.close()
        except Exception:
            _log.exception("closing a %s failed", session.env_id)

    def forget(self, session: Session) -> None:
        """Let go of a closed session."""
        self._sessions.pop(session.token, None)

    def keep(self, session: Session, snapshot: Any) -> str:
        """Keep a snapshot; gives its token.

        Raises:
            NoRoom: The session and its forks have too many.
        """
        token = secrets.token_urlsafe(16)
        with self._lock:
            if len(session.family.snapshots) >= self.bounds.snapshots:
                raise NoRoom(
                    f"the session and its forks have {self.bounds.snapshots} snapshots here, which is all they may; "
                    "let go of some"
                )
            session.family.snapshots.add(token)
            self._snapshots[token] = (snapshot, session.family)
        return token

    def kept(self, token: str) -> Any:
        """The snapshot of that token.

        Raises:
            UsageError: There is none.
        """
        found = self._snapshots.get(token)
        if found is None:
            raise UsageError(f"no snapshot {token!r}; it was let go of, or its sessions are closed")
        return found[0]

    def let_go(self, token: str) -> None:
        """Drop a snapshot, if it is there."""
        with self._lock:
            _, family = self._snapshots.pop(token, (None, None))
            if family is not None:
                family.snapshots.discard(token)

    def overdue(self, now: float) -> list[Session]:
        """Sessions whose time has run out: to be closed if they are open, else to be forgotten."""
        return [session for session in self if session.pending is None and self._is_overdue(session, now)]

    def _is_overdue(self, session: Session, now: float) -> bool:
        if not session.open:
            return now - session.used > self.bounds.grace
        if session.dropped is not None and now - session.dropped > self.bounds.grace:
            return True
        return now - session.used > self.bounds.idle
