"""Requests in, replies out: reads them, holds each to its number, and runs them here or in a thread.

Environments that are known to be quick are played in the event loop itself, all others in threads, one for each
session that is busy. So a slow tool holds up its own session and no other. Long messages are read in a thread too, one
at a time, and in small steps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pydantic

from tir_gym.errors import UsageError
from tir_gym.long_json import read_long
from tir_gym.rollout.threads import DaemonThreads
from tir_gym.server.figures import Figures
from tir_gym.server.playing import Player
from tir_gym.server.protocol import REQUESTS, CreateRequest, Request, ResetRequest, SessionRequest
from tir_gym.server.sessions import Session
from tir_gym.server.wire import failed
from tir_gym.short_json import read_short

_SLOW = 0.25
"""Seconds: a step in the event loop that took longer sends its session to threads until the next reset. No tool that
runs there takes a hundredth of it, so on a busy machine this says nothing, and a loop that is held up says it."""

_LIGHT = 16 << 10
"""Characters of a request that the event loop reads and plays at most: what is longer takes long to read and to match.
"""

_THREADED = frozenset({"create", "reset", "trace", "tasks", "task"})
"""Requests that may take long whatever the environment."""


class Connection:
    """What a session remembers of the way by which it was used; compared by identity."""

    __slots__ = ("__weakref__", "gone", "sessions")

    def __init__(self) -> None:
        self.sessions: set[Session] = set()
        self.gone = False


class House:
    """All that one process serves. `call` and `drop` belong to the event loop's thread.

    Args:
        player: Carries requests out.
        figures: What is counted.
    """

    def __init__(self, player: Player, figures: Figures) -> None:
        self.player = player
        self.sessions = player.sessions
        self.figures = figures
        self._threads = DaemonThreads(self.sessions.bounds.sessions)  # one each, and none keeps the process alive
        self._reading = DaemonThreads(1)  # so that the event loop never shares its turns with more than one
        self._closing: dict[Session, asyncio.Task[None]] = {}
        self._creating: dict[str, asyncio.Future[str]] = {}
        self._created: dict[str, Session] = {}
        self._created_replies: dict[Session, tuple[str, str]] = {}

    def call(self, text: str, connection: Connection | None = None) -> str | asyncio.Future[str]:
        """Serve a request.

        Args:
            text: As the client sent it.
            connection: Over which it came; `None` where every request comes alone.

        Returns:
            The reply, or a future of it; who waits for that must not cancel it (`asyncio.shield`).
        """
        if len(text) <= _LIGHT:
            return self._serve(_read(text), connection, True)
        return self._later(partial(_read, text), lambda read: self._serve(read, connection, False), self._reading)

    async def read(self, text: str) -> Any:
        """The data in a message of a face that has messages of its own.

        Raises:
            ValueError: No JSON, or more of it than anybody means to say.
            RecursionError: Nested too deeply.
        """
        if len(text) <= _LIGHT:
            return read_short(text)
        return await asyncio.wrap_future(self._reading.submit(partial(read_long, text)))

    def _serve(self, read: Request | _Unread, connection: Connection | None, light: bool) -> str | asyncio.Future[str]:
        if isinstance(read, _Unread):
            return self._refused(read)
        request = read
        if isinstance(request, CreateRequest):
            return self._create(request, connection)
        session = self.sessions.get(request.session)
        if session is None:
            return self._unserved(request, "no_session", "no such session; it was closed, or it expired")
        if request.id == session.last_id:
            if request.op != session.last_op:
                return self._unserved(request, "out_of_order", f"id {request.id} was a {session.last_op}")
            self.figures.repeated.inc()
            return self._reply_again(session, connection)
        if not session.open:
            return self._unserved(request, "no_session", "the session is closed")
        if session.pending is not None:
            return self._unserved(request, "busy", f"request {session.last_id} of this session is still running")
        if request.id != session.last_id + 1:
            return self._unserved(
                request, "out_of_order", f"id {request.id}: the session's next request has {session.last_id + 1}"
            )
        self._use(session, connection)
        session.last_id, session.last_op = request.id, request.op
        if light and session.at_once and (request.op not in _THREADED or _is_quick_reset(session, request)):
            return self._run_here(session, request)
        return self._run_in_thread(session, request)

    def drop(self, connection: Connection) -> None:
        """A connection is gone: the sessions that were last used over it have their time of grace from now on."""
        connection.gone, now = True, time.monotonic()
        for session in connection.sessions:
            session.connection, session.dropped = None, now
        connection.sessions.clear()

    async def run(self, session: Session, op: str, work: Callable[[Session], Any], size: int = 0) -> Any:
        """Serve a face with an order of its own: waits for the session's turn, and uses up no number.

        Args:
            session: Whose environment is played.
            op: What to count it as.
            work: What to do with the session; runs here or in a thread, as a request would.
            size: Characters of what the client sent for it.

        Raises:
            UsageError: The session was closed meanwhile.
            Exception: Of `work`.
        """
        while session.pending is not None:
            await asyncio.wait([session.pending])
        if not session.open:
            raise UsageError("the session is closed")
        self._use(session, session.connection)
        start = time.perf_counter()
        try:
            if session.at_once and size <= _LIGHT:
                return work(session)
            session.pending = asyncio.wrap_future(self._threads.submit(partial(work, session)))
            session.pending.add_done_callback(lambda _: self._free(session))
            return await asyncio.shield(session.pending)
        finally:
            seconds = time.perf_counter() - start
            if seconds > _SLOW:
                session.at_once = False
            self.figures.count(op, "", seconds)

    async def finish(self, session: Session) -> None:
        """Close a session that nobody can come back to."""
        while session.pending is not None:
            await asyncio.wait([session.pending])
        if self.sessions.retire(session):  # from here on no request reaches it
            await self.in_thread(partial(self.sessions.shut, session))
        self._forget(session)

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """Run something slow that belongs to no session yet."""
        return await asyncio.wrap_future(self._threads.submit(work))

    async def sweep(self) -> None:
        """Close and forget what is overdue, for ever."""
        bounds = self.sessions.bounds
        while True:
            await asyncio.sleep(min(bounds.idle, bounds.grace, 20.0) / 4)
            for session in self.sessions.overdue(time.monotonic()):
                if session.open and session not in self._closing:
                    self.figures.expired.inc()
                    # Not waited for: one that takes long to close must not keep the others open.
                    closing = self._closing[session] = asyncio.ensure_future(self.finish(session))
                    closing.add_done_callback(lambda _, session=session: self._closing.pop(session))  # type: ignore[misc]
                elif not session.open:
                    self._forget(session)

    async def close(self) -> None:
        """Close every session, without waiting for ever for one that hangs."""
        running = [session.pending for session in self.sessions if session.pending is not None]
        if running:
            await asyncio.wait(running, timeout=2.0)
        closing = [asyncio.ensure_future(self.in_thread(partial(self.sessions.close, each))) for each in self.sessions]
        if closing:
            await asyncio.wait(closing, timeout=5.0)
        self._threads.stop()
        self._reading.stop()

    # Opening.

    def _create(self, request: CreateRequest, connection: Connection | None) -> str | asyncio.Future[str]:
        if request.id in self._creating:
            return self._creating[request.id]
        known = self._created.get(request.id)
        if known is not None:
            self.figures.repeated.inc()
            self._use(known, connection)
            return self._created_replies[known][1]

        def made(result: tuple[str, Session | None]) -> str:
            reply, session = result
            del self._creating[request.id]
            if session is not None:
                self._created[request.id] = session
                self._created_replies[session] = (request.id, reply)
                self._use(session, connection)
            self.figures.count(request.op, reply)
            return reply

        future = self._creating[request.id] = self._later(lambda: self.player.create(request), made)
        return future

    def _forget(self, session: Session) -> None:
        self.sessions.forget(session)
        self._connect(session, None)
        key, _ = self._created_replies.pop(session, (None, None))
        if key is not None:
            del self._created[key]

    # Running.

    def _run_here(self, session: Session, request: SessionRequest) -> str:
        start = time.perf_counter()
        reply = session.reply = self.player.perform(session, request)
        seconds = time.perf_counter() - start
        if seconds > _SLOW:
            session.at_once = False
        self.figures.count(request.op, reply, seconds)
        return reply

    def _run_in_thread(self, session: Session, request: SessionRequest) -> asyncio.Future[str]:
        start = time.perf_counter()

        def done(reply: str) -> str:
            session.reply, session.running = reply, None
            self._free(session)
            self.figures.count(request.op, reply, time.perf_counter() - start)
            return reply

        session.running = request.id
        future = session.pending = self._later(lambda: self.player.perform(session, request), done)
        return future

    def _free(self, session: Session) -> None:
        session.pending, session.used = None, time.monotonic()

    def _later(
        self,
        work: Callable[[], Any],
        done: Callable[[Any], str | asyncio.Future[str]],
        threads: DaemonThreads | None = None,
    ) -> asyncio.Future[str]:
        """A future that goes on whoever waits for it: `done` of what `work` gives, in the event loop."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def finish(inner: asyncio.Future[Any]) -> None:
            try:
                reply = done(inner.result())
                if not isinstance(reply, str):
                    reply.add_done_callback(lambda last: _pass_on(last, future))
                    return
            except BaseException as error:  # a bug of ours, for whoever waits
                if not future.done():
                    future.set_exception(error)
                return
            if not future.done():
                future.set_result(reply)

        asyncio.wrap_future((threads or self._threads).submit(work)).add_done_callback(finish)
        return future

    def _use(self, session: Session, connection: Connection | None) -> None:
        session.used = time.monotonic()
        if connection is not None and connection.gone:  # while the session was made
            session.dropped = session.used
            return
        session.dropped = None
        if session.connection is not connection:
            self._connect(session, connection)

    def _connect(self, session: Session, connection: Connection | None) -> None:
        if session.connection is not None:
            session.connection.sessions.discard(session)
        session.connection = connection
        if connection is not None:
            connection.sessions.add(session)

    def _reply_again(self, session: Session, connection: Connection | None) -> str | asyncio.Future[str]:
        if session.open:
            self._use(session, connection)
        if session.pending is not None and session.running == session.last_id:
            return session.pending
        return session.reply

    # Refusing.

    def _unserved(self, request: SessionRequest, kind: str, message: str) -> str:
        reply = failed(request.id, request.session, kind, message)
        self.figures.count(request.op, reply)
        return reply

    def _refused(self, unread: _Unread) -> str:
        data = unread.data if isinstance(unread.data, dict) else {}
        id, token = data.get("id"), data.get("session")
        reply = failed(
            id if type(id) is int or (type(id) is str and len(id) <= 64) else None,
            token if type(token) is str and len(token) <= 64 else None,
            "bad_message",
            f"{unread.fault}; see GET /schema",
        )
        self.figures.count("unread", reply)
        return reply


@dataclass(frozen=True)
class _Unread:
    """A message that is no request, and why not."""

    data: Any
    fault: str


def _read(text: str) -> Request | _Unread:
    """The request in a message. Runs in any thread."""
    data = None
    try:
        data = read_short(text) if len(text) <= _LIGHT else read_long(text)
        return REQUESTS.validate_python(data)
    except pydantic.ValidationError as error:
        return _Unread(data, _faults(error))
    except RecursionError:
        return _Unread(None, "nested too deeply")
    except ValueError as error:  # also of numbers with too many digits
        return _Unread(None, f"no JSON: {error}")


def _pass_on(last: asyncio.Future[str], to: asyncio.Future[str]) -> None:
    if to.done():
        return
    error = last.exception()
    if error is None:
        to.set_result(last.result())
    else:
        to.set_exception(error)


def _is_quick_reset(session: Session, request: SessionRequest) -> bool:
    return isinstance(request, ResetRequest) and request.task is not None and session.env.is_prepared(request.task)


def _faults(error: pydantic.ValidationError) -> str:
    """What is wrong, without repeating what the client sent."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    said = [f"{'.'.join(map(str, fault['loc'])) or 'message'}: {fault['msg']}" for fault in faults[:3]]
    return "; ".join(said) + ("; ..." if len(faults) > 3 else "")
