"""A face for clients of OpenEnv (`openenv-core`, checked with 0.3.0), which drive it unchanged.

Their base URL is `http://HOST:PORT/openenv/ID`. A connection is a session with an environment of its own, which ends
with it: that protocol has no numbers, so it cannot resume. Their `StepResult` has one `done`; whether the episode was
cut short stands in the observation as `truncated`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from tir_gym.errors import TirGymError, UsageError
from tir_gym.registration import cards
from tir_gym.server.calls import play_call
from tir_gym.server.house import House
from tir_gym.server.sessions import NoRoom, Session
from tir_gym.server.wire import reset_result, step_result, write


class OpenEnvFace:
    """Serves environments to OpenEnv's clients."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._exposed = house.player.expose_gold

    def routes(self) -> list[BaseRoute]:
        base = "/openenv/{env_id:path}"
        return [
            WebSocketRoute(f"{base}/ws", self),
            Route(f"{base}/health", lambda request: JSONResponse({"status": "healthy"})),
            Route(f"{base}/metadata", self._metadata),
            Route(f"{base}/schema", lambda request: JSONResponse(_SCHEMA)),
        ]

    def _metadata(self, request: Request) -> JSONResponse:
        try:
            id = self._house.player.catalogue.named(request.path_params["env_id"])
        except UsageError as error:
            return JSONResponse({"detail": str(error)}, 404)
        card = cards().get(id)
        return JSONResponse({"name": id, "description": card.summary if card is not None else id})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

        async def say(kind: str, data: Mapping[str, Any]) -> None:
            await send({"type": "websocket.send", "text": write({"type": kind, "data": data})})

        session, episode = None, _Episode()
        self._house.figures.connections.inc()
        try:
            try:
                session = await self._house.in_thread(lambda: self._open(scope["path_params"]["env_id"]))
            except NoRoom as error:
                await say("error", {"message": str(error), "code": "CAPACITY_REACHED"})
                return
            except TirGymError as error:
                await say("error", {"message": str(error), "code": "FACTORY_ERROR"})
                return
            while (message := await receive())["type"] == "websocket.receive":
                kind, data = await self._serve(session, episode, message.get("text"))
                if kind == "close":
                    break
                await say(kind, data)
        except OSError:  # the other side went while it was being answered
            pass
        finally:
            self._house.figures.connections.dec()
            if session is not None:
                await self._house.finish(session)

    def _open(self, env_id: str) -> Session:
        catalogue, sessions = self._house.player.catalogue, self._house.sessions
        sessions.check_room()
        id = catalogue.named(env_id)
        return sessions.open(id, catalogue.make(id, {}))

    async def _serve(self, session: Session, episode: _Episode, text: str | None) -> tuple[str, dict[str, Any]]:
        try:
            message = await self._house.read(text or "")
            kind, data = message["type"], message.get("data", {})
            if not isinstance(data, dict):
                raise TypeError("`data` must be an object")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return "error", {"message": f"no message with `type` and `data`: {error}", "code": "INVALID_JSON"}
        if kind == "close":
            return "close", {}
        if kind == "state":
            return "state", {"episode_id": episode.id, "step_count": episode.steps, "task_id": episode.task_id}
        if kind not in ("reset", "step"):
            return "error", {"message": f"no message type {kind!r}", "code": "UNKNOWN_TYPE"}
        play = episode.reset if kind == "reset" else episode.step
        try:
            return "observation", await self._house.run(
                session, f"openenv_{kind}", lambda session: play(session, data, self._exposed), len(text or "")
            )
        except TirGymError as error:
            return "error", {"message": str(error), "code": "EXECUTION_ERROR"}


class _Episode:
    """What their `state` tells, and how their messages are played."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.task_id: str | None = None
        self.steps = 0

    def reset(self, session: Session, data: Mapping[str, Any], exposed: bool) -> dict[str, Any]:
        task, seed, id = (data.get(name) for name in ("task", "seed", "episode_id"))
        if task is not None and not isinstance(task, str):
            raise UsageError("task: a server plays its own tasks, so give the id of one")
        if seed is not None and (type(seed) is not int or seed < 0):
            raise UsageError(f"seed={seed!r:.40}: give a whole number of at least 0")
        observation, info = session.env.reset(seed=seed, options=None if task is None else {"task": task})
        public = reset_result(session.env, observation, info, exposed)["info"]
        self.task_id, self.steps = info["task_id"], 0
        self.id = str(id) if id is not None else self.task_id
        return _answer({"messages": observation, **public}, None, False)

    def step(self, session: Session, data: dict[str, Any], exposed: bool) -> dict[str, Any]:
        data.pop("metadata", None)  # of every action of theirs
        if data.get("type") == "list_tools":
            if self.task_id is None:
                self.reset(session, {}, exposed)
            tools = [
                {"name": spec.name, "description": spec.description, "input_schema": spec.parameters}
                for spec in session.env.task.tools
            ]
            return _answer({"tools": tools}, None, False)
        if data.get("type") == "call_tool":
            name, arguments = data.get("tool_name"), data.get("arguments") or {}
            if not isinstance(name, str) or not name or not isinstance(arguments, dict):
                raise UsageError("call_tool: give `tool_name`, text, and `arguments`, an object")
            called = play_call(session.env, name, arguments, exposed)
            self.steps += 1
            result = called.result
            given = result.content if result.error is None else {"error": result.error}
            # Their client takes `data` out of a result that has it; so whatever a tool gives comes out whole.
            observation = {"tool_name": name, "result": {"data": given}, "metadata": {"info": called.info}}
            return _answer(observation, called.reward, called.terminated or called.truncated, called.truncated)
        action = data["message"] if data.keys() == {"message"} else data
        played = step_result(session.env.step(action), exposed)
        self.steps += 1
        done = played["terminated"] or played["truncated"]
        observation = {"messages": played["observation"], "info": played["info"]}
        return _answer(observation, played["reward"], done, played["truncated"])


def _answer(observation: dict[str, Any], reward: float | None, done: bool, truncated: bool = False) -> dict[str, Any]:
    return {"observation": {**observation, "truncated": truncated}, "reward": reward, "done": done}


_MESSAGES = {"type": "array", "items": {"type": "object"}}
_SCHEMA = {
    "action": {
        "anyOf": [
            {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]},
            {"type": "object", "properties": {"content": {"type": ["string", "null"]}, "tool_calls": _MESSAGES}},
            {
                "type": "object",
                "properties": {
                    "type": {"const": "call_tool"},
                    "tool_name": {"type": "string"},
                    "arguments": {"type": "object"},
                },
                "required": ["type", "tool_name"],
            },
            {"type": "object", "properties": {"type": {"const": "list_tools"}}, "required": ["type"]},
        ]
    },
    "observation": {
        "type": "object",
        "properties": {"messages": _MESSAGES, "truncated": {"type": "boolean"}, "info": {"type": "object"}},
    },
    "state": {
        "type": "object",
        "properties": {"episode_id": {"type": ["string", "null"]}, "step_count": {"type": "integer"}},
    },
}
