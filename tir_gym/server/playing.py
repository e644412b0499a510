"""What each request does to a session's environment. Runs in whatever thread it is called in; knows no network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tir_gym.errors import InfrastructureError, TirGymError, UsageError
from tir_gym.server.catalogue import Catalogue
from tir_gym.server.protocol import (
    PROTOCOL,
    CloseRequest,
    CreateRequest,
    ForgetRequest,
    ForkRequest,
    RenderRequest,
    ResetRequest,
    RestoreRequest,
    SessionRequest,
    SnapshotRequest,
    StepRequest,
    TaskRequest,
    TasksRequest,
    TraceRequest,
    TruncateRequest,
)
from tir_gym.server.sessions import NoRoom, Session, Sessions, runs_at_once
from tir_gym.server.wire import EMPTY, failed, ok, public_tags, reset_result, step_result, trace_result

_log = logging.getLogger(__name__)


class Player:
    """Carries requests out.

    Args:
        catalogue: What can be made.
        sessions: Where sessions are kept.
        expose_gold: Whether clients see the gold trace and the matching.
    """

    def __init__(self, catalogue: Catalogue, sessions: Sessions, expose_gold: bool = False) -> None:
        self.catalogue = catalogue
        self.sessions = sessions
        self.expose_gold = expose_gold

    def create(self, request: CreateRequest) -> tuple[str, Session | None]:
        """Open a session: the reply, and the session if there is one."""
        try:
            self.sessions.check_room()
            env_id = self.catalogue.named(request.env_id)
            env = self.catalogue.make(env_id, self._bounded(request.options))
            session = self.sessions.open(env_id, env, chosen=request.options)
        except Exception as error:
            return failure(error, request.id, None), None
        return ok(request.id, session.token, self._created(session)), session

    def perform(self, session: Session, request: SessionRequest) -> str:
        """Carry a request out: the reply."""
        try:
            return ok(request.id, session.token, self._perform(session, request))
        except Exception as error:
            return failure(error, request.id, session.token)

    def _perform(self, session: Session, request: SessionRequest) -> Mapping[str, Any]:
        env = session.env
        if isinstance(request, StepRequest):
            return step_result(env.step(request.action), self.expose_gold)
        if isinstance(request, ResetRequest):
            options = None if request.task is None else {"task": request.task}
            observation, info = env.reset(seed=request.seed, options=options)
            session.at_once = runs_at_once(env)
            return reset_result(env, observation, info, self.expose_gold)
        if isinstance(request, SnapshotRequest):
            return {"snapshot": self.sessions.keep(session, env.snapshot())}
        if isinstance(request, RestoreRequest):
            env.restore(self.sessions.kept(request.snapshot))
            session.at_once = runs_at_once(env)
        elif isinstance(request, ForgetRequest):
            for token in request.snapshots:
                self.sessions.let_go(token)
        elif isinstance(request, ForkRequest):
            self.sessions.check_room()
            twin = self.sessions.open(session.env_id, env.fork(), session.family, session.chosen)
            twin.at_once = session.at_once
            return self._created(twin)
        elif isinstance(request, RenderRequest):
            return {"text": env.render()}
        elif isinstance(request, TruncateRequest):
            env.truncate(request.ending)
        elif isinstance(request, TraceRequest):
            return trace_result(env, self.expose_gold, session.chosen)
        elif isinstance(request, TasksRequest):
            return {"tasks": env.task_ids(request.n, request.first)}
        elif isinstance(request, TaskRequest):
            task = env.task_named(request.task)
            tools = [spec.to_openai() for spec in task.tools]
            tags = public_tags(task, self.expose_gold)
            return {"id": task.id, "messages": task.messages, "tools": tools, "tags": tags}
        elif isinstance(request, CloseRequest):
            self.sessions.close(session)
        return EMPTY

    def _bounded(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options as a client chose them.

        Raises:
            UsageError: More turns than a client may choose.
        """
        turns, most = options.get("max_turns"), self.sessions.bounds.turns
        if type(turns) is int and turns > most:
            raise UsageError(f"option 'max_turns' is {turns!s:.20}, and on this server at most {most}; choose no more")
        return options

    def _created(self, session: Session) -> dict[str, Any]:
        env, bounds = session.env, self.sessions.bounds
        return {
            "session": session.token,
            "protocol": PROTOCOL,
            "env_id": session.env_id,
            "dialect": env.dialect.name,
            "split": env.split,
            "reward": env.reward.model_dump(),
            "max_turns": env.max_turns,
            "gold": self.expose_gold,
            "grace": bounds.grace,
            "idle": bounds.idle,
        }


def failure(error: Exception, id: int | str, token: str | None) -> str:
    """The reply to a request that raised."""
    if isinstance(error, NoRoom):
        return failed(id, token, "limit", str(error))
    if isinstance(error, InfrastructureError):
        return failed(id, token, "infrastructure", str(error), error.kind)
    if isinstance(error, TirGymError):
        return failed(id, token, "usage", str(error))
    _log.exception("a request failed", exc_info=error)
    return failed(id, token, "internal", f"{type(error).__name__}; the server's log says more")
